//! The end of the story: the table, one record, one request.

use std::time::Duration;

use indicatif::HumanCount;
use serde_json::Value;

use crate::ledger::{Ledger, Request, Verdict};
use crate::tally::{Losses, Tally};

/// Prints all of it.
pub(crate) fn print(ledger: &Ledger, verdict: &Verdict, killed_pid: u32, outage: Duration) {
    if let Some(request) = &ledger.survivor {
        let record = first_record(&request.body);
        println!("\nOne record as it went over the wire (process {killed_pid} wrote it and was killed):\n");
        println!("{}", indented(&pretty(record)));
        println!("\nThe request that brought it, sent by the process after it:\n");
        println!("{}", indented(&head_of(request)));
    }

    let tallies = |of: fn(&Tally) -> u64| [of(&ledger.logs), of(&ledger.spans)];
    let losses = |of: fn(&Losses) -> u64| [of(&verdict.logs), of(&verdict.spans)];
    println!("\n  {:-<84}", "");
    println!("  {:<15} {:>8} {:>8}", "", "records", "spans");
    row("emitted", [ledger.emitted(); 2], "by tracing::info! and the like, each in a span");
    let batches = HumanCount(ledger.logs.batches + ledger.spans.batches);
    row("delivered", tallies(Tally::delivered), &format!("in {batches} batches"));
    row("lost", losses(|losses| losses.lost), "emitted, but never delivered");
    let repeated = ledger.logs.repeated_batches + ledger.spans.repeated_batches;
    row("sent twice", tallies(|tally| tally.repeated_entries), &repeats(repeated));
    let not_promised = losses(|losses| losses.not_promised);
    if not_promised != [0; 2] {
        row("not promised", not_promised, "delivered besides: the kill came before they counted as emitted");
    }
    let twice = losses(|losses| losses.twice);
    if twice != [0; 2] {
        row("not recognised", twice, "delivered twice, under different keys");
    }
    figure("out of order", &verdict.logs.out_of_order, "records, within a tenant; spans need no order");
    figure("wrong header", &verdict.wrong_headers, "the X-Tenant of another, or a token that was stale");
    figure("kills", &1, "SIGKILL");
    figure("from journal", &ledger.replayed, "records and spans that were not committed at the kill");
    let responses = format!("seconds; then {} times 503, {} response withheld", ledger.refused, ledger.unanswered);
    figure("outage", &format!("{:.1}", outage.as_secs_f64()), &responses);
    println!("  {:-<84}", "");

    for fault in &verdict.faults {
        println!("  fault: {fault}");
    }
    if verdict.is_good() {
        println!("  Every record and span that was emitted arrived, the records in order, with the right headers.\n");
    } else {
        println!("  THIS IS NOT AS IT SHOULD BE.\n");
    }
}

fn row(name: &str, [records, spans]: [u64; 2], remark: &str) {
    let [records, spans] = [records, spans].map(|count| HumanCount(count).to_string());
    println!("  {name:<15} {records:>8} {spans:>8}   {remark}");
}

/// A row that is of records and spans together.
fn figure(name: &str, value: &dyn std::fmt::Display, remark: &str) {
    println!("  {name:<15} {:>8} {:>8}   {remark}", value.to_string(), "");
}

fn repeats(batches: u64) -> String {
    match batches {
        1 => "1 batch, recognised by its Idempotency-Key".to_owned(),
        _ => format!("{} batches, recognised by their Idempotency-Key", HumanCount(batches)),
    }
}

fn head_of(request: &Request) -> String {
    let mut lines = vec!["POST /ingest?source=quickstart HTTP/1.1".to_owned()];
    for (name, value) in &request.headers {
        lines.push(format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())));
    }
    lines.join("\n")
}

/// The unchanged text of a JSON array's first element.
fn first_record(body: &[u8]) -> &str {
    let array = std::str::from_utf8(body).unwrap_or_default();
    let elements = array.strip_prefix('[').unwrap_or(array);
    let mut values = serde_json::Deserializer::from_str(elements).into_iter::<Value>();
    match values.next() {
        Some(Ok(_)) => &elements[..values.byte_offset()],
        _ => elements,
    }
}

/// JSON with line breaks. A `serde_json::Value` would sort the keys, and their order is part of the format.
fn pretty(json: &str) -> String {
    let (mut out, mut depth, mut in_string, mut escaped) = (String::new(), 0, false, false);
    for c in json.chars() {
        if in_string {
            in_string = escaped || c != '"';
            escaped = c == '\\' && !escaped;
            out.push(c);
            continue;
        }
        let closing = matches!(c, '}' | ']');
        if closing {
            depth -= 1;
        }
        // Only the record itself is broken into lines, so that each member stays on one.
        if closing && depth == 0 {
            out.push('\n');
        }
        out.push(c);
        match c {
            '"' => in_string = true,
            '{' | '[' => depth += 1,
            ':' => out.push(' '),
            ',' if depth > 1 => out.push(' '),
            _ => {}
        }
        if depth == 1 && matches!(c, '{' | '[' | ',') {
            out.push_str("\n  ");
        }
    }
    out
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}
