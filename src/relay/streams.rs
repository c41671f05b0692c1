//! Streams of frames: Python's `SocketHandler`, and logserv, over TCP and Unix sockets.
//!
//! A client is read from whatever happens: after a second in which it cannot write, it drops its record.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::observe::loss::LossReason;
use crate::relay::decoder::{Decoder, Source};
use crate::relay::http::limits::last_read;
use crate::relay::protocols::logserv::{Connection, Event};

/// The most that is read at once.
const READ_BYTES: usize = 64 << 10;

/// A connection may keep so much of what is half read without a permit.
const FREE_BYTES: usize = 64 << 10;

/// How long a client may take to read a line of logserv's dialogue.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// Reads frames until the client closes, or the relay is stopped, and then those that have come already.
pub(crate) async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    mut source: Source,
    max_record_bytes: usize,
    decoder: Decoder,
    mut stop: watch::Receiver<bool>,
) {
    let mut connection = Connection::new(max_record_bytes);
    let decoder = decoder.of_client();
    let mut permit = decoder.permit();
    let mut buffer = vec![0; READ_BYTES];
    let mut last_read = pin!(last_read(&mut stop));
    loop {
        let read = tokio::select! {
            biased;
            read = stream.read(&mut buffer) => read,
            () = &mut last_read => break,
        };
        let Ok(length @ 1..) = read else { break };
        connection.push(&buffer[..length]);
        if !take(&mut connection, &mut stream, &mut source, length, &decoder).await {
            return;
        }
        // A client can send half a frame and no more, and many clients can.
        if !permit.try_cover(connection.settle().saturating_sub(FREE_BYTES))
            && let Some(length) = connection.skip()
        {
            decoder.lose(&source, LossReason::BufferFull, 1, length);
        }
        permit.shrink(connection.settle().saturating_sub(FREE_BYTES));
    }
    if connection.is_within() {
        decoder.lose(&source, LossReason::Cut, 1, 0);
    }
}

/// Takes the frames that are complete. False if the connection is of no use any more.
async fn take(
    connection: &mut Connection,
    stream: &mut (impl AsyncWrite + Unpin),
    source: &mut Source,
    length: usize,
    decoder: &Decoder,
) -> bool {
    let (mut bytes, mut frames) = (Vec::with_capacity(length), Vec::new());
    let goes_on = loop {
        match connection.next() {
            Ok(Some(Event::Frame(frame, _))) => {
                let start = bytes.len();
                bytes.extend_from_slice(frame);
                frames.push(start..bytes.len());
            }
            Ok(Some(Event::Answer(answer))) => {
                // Each line of its own packet, which `TCP_NODELAY` sends at once.
                let written = timeout(ANSWER_PATIENCE, stream.write_all(answer)).await;
                if !matches!(written, Ok(Ok(()))) {
                    break false;
                }
            }
            Ok(Some(Event::Identified(identity))) => {
                let file = identity.filename.as_deref().map(Arc::from);
                // The frames before were another one's.
                decoder.hand_over(source, std::mem::take(&mut bytes), std::mem::take(&mut frames));
                source.file = file;
            }
            Ok(Some(Event::TooLarge(length))) => decoder.lose(source, LossReason::TooLarge, 1, length),
            Ok(None) => break true,
            Err(_) => {
                decoder.lose(source, LossReason::BadFrame, 1, 0);
                break false;
            }
        }
    };
    decoder.hand_over(source, bytes, frames);
    goes_on
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::counts::DropReason;
    use crate::relay::http::budget::Budget;
    use crate::relay::testing::{Decoding, pickle, source};

    const MIB: usize = 1 << 20;

    fn frame(message: &str) -> Vec<u8> {
        let pickle = pickle(message);
        [&u32::try_from(pickle.len()).unwrap().to_be_bytes()[..], &pickle].concat()
    }

    #[tokio::test]
    async fn a_frame_that_is_half_read_takes_nothing_of_the_reserve_which_whole_frames_have() {
        for (used, records, dropped) in [(0, 3, 0), (3 * MIB, 2, 1)] {
            let dir = tempfile::tempdir().unwrap();
            // A quarter of it is the reserve.
            let budget = Budget::new(4 * MIB);
            let mut others = budget.permit();
            assert!(others.try_cover(used));
            let decoding = Decoding::start(dir.path(), budget.clone());
            let sent = [frame("before"), frame(&"x".repeat(200_000)), frame("behind")].concat();
            let (mut near, far) = tokio::io::duplex(READ_BYTES);
            let (_stop, stopped) = watch::channel(false);
            let client = async move {
                near.write_all(&sent).await.unwrap();
                drop(near);
            };
            tokio::join!(serve(far, source(), 4 * MIB, decoding.decoder.clone(), stopped), client);
            let stats = decoding.end();
            assert_eq!((stats.records, stats.dropped(DropReason::BufferFull)), (records, dropped), "{used} used");
            drop(others);
            assert_eq!(budget.available(), 4 * MIB, "all of it is given back");
        }
    }
}
