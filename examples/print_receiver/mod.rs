//! A receiver for the small examples: prints each request and responds with 200.

use axum::Router;
use axum::http::{HeaderMap, Uri};
use axum::routing::post;

/// Starts the receiver on a free port, on a thread of its own; returns its endpoint.
pub(crate) fn start() -> std::io::Result<String> {
    answering("")
}

/// The same, with a body in each response.
pub(crate) fn answering(body: &'static str) -> std::io::Result<String> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    let endpoint = format!("http://{}/logs", listener.local_addr()?);
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let respond = move |path: Uri, headers: HeaderMap, received: String| {
                print(&path, &headers, &received);
                std::future::ready(body)
            };
            let router = Router::new().fallback_service(post(respond));
            axum::serve(tokio::net::TcpListener::from_std(listener)?, router).await
        })
    });
    Ok(endpoint)
}

fn print(path: &Uri, headers: &HeaderMap, body: &str) {
    println!("\nPOST {path} HTTP/1.1");
    for (name, value) in headers {
        println!("{name}: {}", String::from_utf8_lossy(value.as_bytes()));
    }
    println!("\n{body}");
}
