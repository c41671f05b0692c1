//! JSON of a response: text in it, and what stands before a break.

use serde_json::Value;

/// The text under a key; empty where there is none.
pub(super) fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Reads a body. If it is not `whole`, only what something follows counts: the end of a number may be missing.
pub(super) fn read(body: &[u8], whole: bool) -> Option<Value> {
    if whole { serde_json::from_slice(body).ok() } else { read_until_the_break(body) }
}

fn read_until_the_break(body: &[u8]) -> Option<Value> {
    let (mut closes, mut in_text, mut escaped) = (Vec::new(), false, false);
    // The length of what is complete, and how many brackets are open there. A bracket that closes makes it longer, so the open
    // ones stay the first of `closes`.
    let mut complete = None;
    for (at, &byte) in body.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'{' => closes.push(b'}'),
            b'[' => closes.push(b']'),
            b',' => complete = Some((at, closes.len())),
            b'}' | b']' => {
                closes.pop()?;
                complete = Some((at + 1, closes.len()));
                if closes.is_empty() {
                    break;
                }
            }
            _ => {}
        }
    }
    let (len, open) = complete?;
    let mut start = body[..len].to_vec();
    start.extend(closes[..open].iter().rev());
    serde_json::from_slice(&start).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_complete_before_a_break_is_read() {
        for (body, expected) in [
            (r#"{"a":1,"b":[{"c":"},\"","d":2}"#, Some(json!({"a":1,"b":[{"c":"},\"","d":2}]}))),
            (r#"{"a":{"b":1},"c":12"#, Some(json!({"a":{"b":1}}))),
            (r#"{"a":12"#, None),
            (r#"{"a":12,"#, Some(json!({"a":12}))),
            (r#"{"a":{"b":12, "c":"long"#, Some(json!({"a":{"b":12}}))),
            (r#"{"a":1}"#, Some(json!({"a":1}))),
            (r#"{"a":[1,2],"b":[{"c":[3,"#, Some(json!({"a":[1,2],"b":[{"c":[3]}]}))),
            ("]", None),
            ("no JSON, but a comma", None),
            ("", None),
        ] {
            assert_eq!(read(body.as_bytes(), false), expected, "{body}");
        }
    }

    #[test]
    fn every_break_of_a_body_leaves_the_start_of_it() {
        let body = r#"{"partialSuccess":{"rejectedLogRecords":"17","errorMessage":"a \"b\" {c}, d"}}"#;
        for len in 0..body.len() {
            let seen = read(&body.as_bytes()[..len], false);
            let count = seen.as_ref().and_then(|seen| seen.pointer("/partialSuccess/rejectedLogRecords"));
            assert_eq!(count.is_some(), len > body.find(",\"error").unwrap(), "{}", &body[..len]);
            assert!(count.is_none_or(|count| count == "17"), "{seen:?}");
        }
    }
}
