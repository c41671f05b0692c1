//! Frames of Python's `SocketHandler` and `DatagramHandler`: a pickled `LogRecord` each.

use crate::relay::pickle::{self, Values};
use crate::relay::protocol::{Answer, BadMessage, Message, Protocol, Sink};
use crate::relay::protocols::log_record::LogRecord;

/// The attributes of a record that are read; Python sets 21.
const ATTRIBUTES: usize = 10_000;

/// Frames, without their length: a message is one pickle, and that is one record.
pub(crate) struct Frames;

impl Protocol for Frames {
    fn name(&self) -> &'static str {
        "frames"
    }

    /// Listeners for frames take nothing else, and others take none.
    fn claims(&self, _: &Message<'_>) -> bool {
        false
    }

    fn read(&self, message: &Message<'_>, sink: &mut dyn Sink) -> Result<Answer, BadMessage> {
        let pickle = pickle::read(message.body).map_err(|error| BadMessage::new(error.to_string()))?;
        let mut values = Values::of(&pickle);
        let mut record = LogRecord::default();
        for (key, value) in pickle.entries().iter().take(ATTRIBUTES) {
            let name = pickle.text(*key);
            if name.is_some_and(|name| record.set_standard(name, || values.value(*value, true))) {
                continue;
            }
            match values.key(*key) {
                Some(key) => record.set_with(&key, |is_standard| values.value(*value, is_standard)),
                None => record.set("[too large]", "[too large]".into()),
            }
        }
        if pickle.entries().len() > ATTRIBUTES {
            record.set("[too large]", "[too many attributes]".into());
        }
        sink.log(&record.into_record(message.arrived));
        Ok(Answer::default())
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::LazyLock;
    use std::time::{Duration, UNIX_EPOCH};

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use opentelemetry::logs::AnyValue;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::encode::{Encoder as _, JsonEncoder, null};
    use crate::relay::protocol::OtlpRecord;
    use crate::relay::protocols::framing::{Cutter, Piece};
    use crate::relay::record::Record;

    #[derive(Default)]
    struct Records(Vec<Record>);

    impl Sink for Records {
        fn log(&mut self, record: &Record) {
            self.0.push(record.clone());
        }

        fn otlp(&mut self, _: OtlpRecord<'_>) {
            unreachable!("a frame is a log record");
        }
    }

    fn read(body: &[u8]) -> Result<Record, BadMessage> {
        let message = Message { body, arrived: UNIX_EPOCH + Duration::from_secs(1), request: None, file: None };
        let mut records = Records::default();
        let answer = Frames.read(&message, &mut records)?;
        assert_eq!((answer, records.0.len()), (Answer::default(), 1));
        Ok(records.0.remove(0))
    }

    fn captures() -> Vec<PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
        let files = std::fs::read_dir(folder).expect("the captures").map(|file| file.expect("a file").path());
        let mut captures: Vec<_> = files.filter(|file| file.extension().is_some_and(|kind| kind == "bin")).collect();
        captures.sort();
        captures
    }

    /// The frames of a capture.
    fn frames(capture: &Path) -> Vec<Vec<u8>> {
        let (mut cutter, mut frames) = (Cutter::new(1 << 20), Vec::new());
        cutter.push(&std::fs::read(capture).expect("a capture"));
        while let Some(piece) = cutter.next().expect("frames") {
            let Piece::Frame(body) = piece else { panic!("{piece:?}") };
            frames.push(body.to_vec());
        }
        assert!(!cutter.is_within());
        frames
    }

    fn json(value: &AnyValue) -> Value {
        match value {
            value if *value == null() => Value::Null,
            AnyValue::Int(number) => (*number).into(),
            AnyValue::Double(number) if number.is_nan() => "NaN".into(),
            AnyValue::Double(number) if number.is_infinite() => {
                if *number > 0.0 { "Infinity" } else { "-Infinity" }.into()
            }
            AnyValue::Double(number) => (*number).into(),
            AnyValue::String(text) => text.as_str().into(),
            AnyValue::Boolean(is) => (*is).into(),
            AnyValue::Bytes(bytes) => STANDARD.encode(&**bytes).into(),
            AnyValue::ListAny(items) => items.iter().map(json).collect(),
            AnyValue::Map(members) => members.iter().map(|(key, value)| (key.to_string(), json(value))).collect(),
            other => panic!("{other:?}"),
        }
    }

    /// A record in the relay's schema.
    fn meaning(record: &Record) -> Value {
        let mut extra: Map<_, _> =
            record.attributes.iter().map(|(key, value)| (key.to_string(), json(value))).collect();
        let mut take = |name: &str| extra.remove(name).unwrap_or_default();
        let created = record.timestamp.unwrap().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let mut made = json!({
            "created": created,
            "relative_created": record.origin.relative_created,
            "message": record.body.as_ref().map(json),
            "level": {"number": record.origin.level, "name": record.severity_text},
            "sourcecode": {
                "pathname": take("code.file.path"),
                "function": take("code.function.name"),
                "line": take("code.line.number"),
            },
            "process": {"id": record.origin.process_id, "name": record.origin.process_name},
            "thread": {"id": take("thread.id"), "name": take("thread.name")},
            "logger": record.scope.name(),
        });
        let trace = take("exception.stacktrace");
        for (key, value) in [("stack_trace", trace), ("extra", Value::Object(extra))] {
            if !value.is_null() && value != json!({}) {
                made[key] = value;
            }
        }
        made
    }

    #[test]
    fn every_frame_that_python_sent_is_the_record_that_was_logged() {
        let captures = captures();
        assert!(captures.len() >= 9, "{captures:?}");
        for capture in captures {
            let expected = std::fs::read(capture.with_extension("json")).expect("what the capture means");
            let mut expected: Vec<Value> = serde_json::from_slice(&expected).expect("JSON");
            let frames = frames(&capture);
            assert_eq!(frames.len(), expected.len(), "{}", capture.display());
            for (frame, expected) in frames.iter().zip(&mut expected) {
                let mut found = meaning(&read(frame).expect("a record"));
                for time in ["created", "relative_created"] {
                    let [found, expected] = [&mut found, &mut *expected].map(|record| record[time].take().as_f64());
                    assert!((found.unwrap() - expected.unwrap()).abs() < 1e-6, "{time} in {}", capture.display());
                }
                for (key, value) in found["extra"].as_object().into_iter().flatten() {
                    assert_eq!(*value, expected["extra"][key], "{key} in {}", capture.display());
                }
                assert_eq!(found, *expected, "{}", capture.display());
            }
        }
    }

    /// Reads what may be no frame. Whatever it is, its record is JSON.
    fn check(body: &[u8]) {
        let Ok(record) = read(body) else { return };
        let mut json = Vec::new();
        JsonEncoder::default().encode(&record, &record.scope, &mut json).expect("any record can be encoded");
        serde_json::from_slice::<Value>(&json).expect("valid JSON");
    }

    proptest! {
        #[test]
        fn a_frame_that_was_damaged_is_a_record_or_none(
            capture in any::<Index>(),
            frame in any::<Index>(),
            changes in vec((any::<Index>(), any::<u8>()), 1..6),
            from in any::<Index>(),
            moved in 0..40_usize,
            to in any::<Index>(),
        ) {
            static FRAMES: LazyLock<Vec<Vec<Vec<u8>>>> =
                LazyLock::new(|| captures().iter().map(|capture| frames(capture)).collect());
            let capture: &Vec<Vec<u8>> = capture.get(&FRAMES);
            let mut body = frame.get(capture).clone();
            for (at, byte) in changes {
                *at.get_mut(&mut body) = byte;
            }
            check(&body);
            // Whole opcodes come to other places.
            let from = from.index(body.len());
            let part: Vec<u8> = body.drain(from..body.len().min(from + moved)).collect();
            let to = to.index(body.len() + 1);
            body.splice(to..to, part);
            check(&body);
        }
    }

    #[test]
    #[ignore = "it measures"]
    fn speed() {
        const ROUNDS: u32 = 200_000;
        struct Nothing;
        impl Sink for Nothing {
            fn log(&mut self, record: &Record) {
                std::hint::black_box(record);
            }

            fn otlp(&mut self, _: OtlpRecord<'_>) {}
        }
        for capture in captures() {
            let frames = frames(&capture);
            for frame in [&frames[0], &frames[3], &frames[frames.len() - 5]] {
                let message = Message { body: frame, arrived: UNIX_EPOCH, request: None, file: None };
                let started = std::time::Instant::now();
                for _ in 0..ROUNDS {
                    Frames.read(std::hint::black_box(&message), &mut Nothing).expect("a record");
                }
                println!("{}: {} bytes, {:?}", capture.display(), frame.len(), started.elapsed() / ROUNDS);
            }
        }
    }
}
