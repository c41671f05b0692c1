use std::collections::BTreeSet;

use serde_json::json;

use super::drain::check_user;
use super::outcome::{End, Failure, Outcome};
use super::screen::{self, confirm, records, shown};
use super::spool_arg::{OfSignal, Spool};
use super::survey::{self, Surveyed};
use crate::transport::http::public_url;
use crate::transport::{allowed_urls, origin};

/// Give queues whose owner is gone to another endpoint, after it has changed
///
/// An exporter adopts only queues that were spooled for the scheme, host and port that it sends to: what one vendor was to get
/// goes to no other. This says that such queues are for the endpoint of --to from now on. The next exporter with that endpoint
/// adopts them, a running one within ten seconds. Nothing is sent by this command. Names what it would do and asks first.
///
/// Run it as the user of the service.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    spool: Spool,
    #[command(flatten)]
    of: OfSignal,
    /// The endpoint that the records are for from now on
    #[arg(long = "to", value_name = "URL", value_hint = clap::ValueHint::Url)]
    url: String,
    /// Only this queue. Can be repeated
    #[arg(long, value_name = "QUEUE")]
    queue: Vec<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let (directory, mut screen) = args.spool.open()?;
    let (Some(to), Some(endpoint)) = (origin(&args.url), public_url(&args.url)) else {
        return Err(Failure::Usage(format!("--to is no URL that records are sent to; allowed are {}", allowed_urls())));
    };
    check_user(&args.spool.dir)?;
    survey::unknown(&directory, args.of.signal)?;
    for id in &args.queue {
        if !directory.queues(args.of.signal)?.any(|queue| queue.is_ok_and(|queue| queue.id() == *id)) {
            return Err(Failure::Usage(format!("there is no queue {id}")));
        }
    }
    // Locked until they are assigned: nobody adopts a queue between the question and its end.
    let (mut queues, mut refused) = (Vec::new(), false);
    let rejected = directory.rejected().by_lane()?;
    for queue in survey::each(&directory, args.of.signal)? {
        let is_chosen = args.queue.is_empty() || args.queue.contains(&queue.id());
        if !is_chosen || queue.is_for(&to) {
            continue;
        }
        if queue.make_exclusive() {
            queues.push(Surveyed::new(queue, &rejected)?);
        } else if args.queue.contains(&queue.id()) || !queue.is_owned() {
            let why = if queue.is_owned() { "its owner is alive" } else { "another process reads it" };
            screen::note(&format!("queue {}: {why}: it is not assigned", queue.id()));
            refused = true;
        }
    }
    let signals: BTreeSet<_> = queues.iter().map(|queue| queue.queue.signal().name()).collect();
    if signals.len() > 1 {
        let signals: Vec<_> = signals.into_iter().collect();
        return Err(Failure::Usage(format!(
            "there are queues of several signals ({}), and --to URL is the endpoint of one: choose it with --signal",
            signals.join(", ")
        )));
    }
    let waiting = queues.iter().map(Surveyed::waiting).sum();
    let count = screen::counted(queues.len() as u64, "queue", "queues");
    if !queues.is_empty() {
        let was: BTreeSet<_> = queues.iter().map(of).collect();
        let was: Vec<_> = was.into_iter().collect();
        let question = format!(
            "have {count} with {} that were spooled for {} sent to {}",
            records(waiting),
            was.join(", "),
            shown(&endpoint)
        );
        confirm(&question, args.yes)?;
    }
    let mut assigned = Vec::new();
    for queue in queues {
        let (id, was) = (queue.queue.id(), queue.queue.endpoint().as_deref().map(shown));
        let records = queue.waiting();
        queue.queue.assign(&to, &endpoint)?;
        assigned.push(json!({ "queue": id, "was": was, "waiting_records": records }));
    }
    if screen.json {
        screen.document(&json!({ "endpoint": shown(&endpoint), "assigned": assigned }))?;
    } else if assigned.is_empty() {
        screen.line("there is nothing to assign")?;
    } else {
        screen.line(&format!("assigned {count} with {} to {}", records(waiting), shown(&endpoint)))?;
    }
    screen.flush()?;
    Ok(if refused { End::Wrong } else { End::Done })
}

/// The endpoint that a queue was spooled for, in words.
fn of(queue: &Surveyed) -> String {
    queue.queue.endpoint().as_deref().map_or_else(|| "an unknown endpoint".to_owned(), shown)
}
