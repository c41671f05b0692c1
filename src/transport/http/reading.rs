//! The body of a response, as far as it is needed.

use std::time::Duration;

use reqwest::Response;

/// Reads the body of a response, at most so many bytes of it and, if there is a limit, so long. Whether it was read to its
/// end: a body can break off, be longer, or have no end.
pub(super) async fn read(response: &mut Response, max_bytes: usize, limit: Option<Duration>) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    let whole = async {
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    let room = max_bytes - body.len();
                    body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                    if chunk.len() > room {
                        return false;
                    }
                }
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    };
    let whole = match limit {
        Some(limit) => tokio::time::timeout(limit, whole).await.unwrap_or(false),
        None => whole.await,
    };
    (body, whole)
}
