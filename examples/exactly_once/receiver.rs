//! A receiver that stores every record once, though it may be sent twice: a kill at any moment, of either side, costs and doubles none.
//!
//! `Idempotency-Key` names the records of a batch by their places: `3f9c1b2a77d0e4c1.0-512-1023` are the records 512 to 1023 of the
//! lane `3f9c1b2a77d0e4c1.0`. Lane and number are the key of the table, and a batch is stored in one transaction before its response.
//! A record that comes again changes nothing, also when its batch was split meanwhile.
//!
//! ```text
//! cargo run -p tests --bin exactly-once-receiver -- records.db 127.0.0.1:8080
//! ```
//!
//! In a package of your own it takes `axum`, `rusqlite` with its feature `bundled`, `serde_json` and `tokio`.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use rusqlite::Connection;
use serde_json::Value;

const TABLE: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS records (lane TEXT, number INTEGER, record TEXT, PRIMARY KEY (lane, number)) WITHOUT ROWID";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [path, address] = <[String; 2]>::try_from(std::env::args().skip(1).collect::<Vec<_>>())
        .map_err(|_| "usage: exactly-once-receiver DATABASE ADDRESS")?;
    let database = Connection::open(path)?;
    database.execute_batch(TABLE)?;
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("http://{}/ingest", listener.local_addr()?);
    let router = Router::new().route("/ingest", post(ingest)).layer(DefaultBodyLimit::max(16 << 20));
    axum::serve(listener, router.with_state(Arc::new(Mutex::new(database)))).await?;
    Ok(())
}

async fn ingest(
    State(database): State<Arc<Mutex<Connection>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(), (StatusCode, String)> {
    let records: Vec<Value> =
        serde_json::from_slice(&body).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok());
    let key = key.ok_or((StatusCode::BAD_REQUEST, "no Idempotency-Key".to_owned()))?;
    let mut database = database.lock().unwrap_or_else(PoisonError::into_inner);
    // The sender keeps the batch until a success: 503 has it sent again.
    store(&mut database, key, &records).map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, error.to_string()))
}

fn store(database: &mut Connection, key: &str, records: &[Value]) -> rusqlite::Result<()> {
    let (lane, first) = place(key, records.len()).unwrap_or((key, 0));
    let transaction = database.transaction()?;
    for (number, record) in (first..).zip(records) {
        let insert = "INSERT INTO records VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
        transaction.prepare_cached(insert)?.execute((lane, number, record.to_string()))?;
    }
    transaction.commit()
}

/// The lane and the number of the first record. A batch from which damage took a record names more than it has.
fn place(key: &str, records: usize) -> Option<(&str, i64)> {
    let (rest, last) = key.rsplit_once('-')?;
    let (lane, first) = rest.rsplit_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse::<i64>().ok()?);
    (usize::try_from(last - first + 1) == Ok(records)).then_some((lane, first))
}
