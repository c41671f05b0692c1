//! `otel-spool top`: a spool on a terminal, live. `look` says what is there, `view` draws it.

mod look;
mod view;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anstream::{AutoStream, ColorChoice};
use clap::ValueHint;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use self::look::Watched;
use self::view::{Page, View};
use super::drain::watch_for_end;
use super::outcome::{End, Failure, Outcome};
use super::rejected::page;
use super::spool_arg::Spool;
use super::time;
use crate::error::error_chain;

/// The shortest time between two looks: each one lists the directory.
const AT_LEAST: Duration = Duration::from_millis(100);

/// How long a key is waited for before the end is looked for.
const KEY: Duration = Duration::from_millis(200);

/// Watch the queues of a spool, live
///
/// Shows a line per queue: the process of its owner, the number of records that wait, how long the oldest of them has (LAG), records a
/// second that come (IN/S) and go (OUT/S), how long ago an attempt failed if nothing went well since (FAILED), and how many records
/// the owner has had rejected. Owners tell that every five seconds while something changes; `-` is not known. Nothing of the spool is
/// changed, and no owner is disturbed.
///
/// Keys: q ends; space pauses the view and goes on; s sorts by the next column; the arrows choose a queue, which is explained below;
/// r shows the newest rejected record, and r or Esc goes back.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The directory of the spool
    #[arg(value_name = "SPOOL", value_hint = ValueHint::DirPath)]
    dir: PathBuf,
    /// Look again after this time
    #[arg(long, value_name = "DURATION", value_parser = time::parse_duration, default_value = "1s")]
    every: Duration,
}

const EXAMPLES: &str = "\
Examples:
  otel-spool top /var/lib/checkout/spool
  otel-spool top --every 5s /var/lib/checkout/spool";

pub(super) fn run(args: &Args) -> Outcome {
    let spool = Spool { dir: args.dir.clone(), json: false };
    let (directory, _) = spool.open()?;
    if !(io::stdout().is_terminal() && io::stdin().is_terminal()) {
        return Err(Failure::Usage("top needs a terminal; for a program there is `otel-spool ls --json`".to_owned()));
    }
    let has_colors = AutoStream::choice(&io::stdout()) != ColorChoice::Never;
    let view = View::new(args.dir.display().to_string(), has_colors);
    let mut top = Top { watched: Watched::new(directory), view, every: args.every.max(AT_LEAST) };
    let ended = watch_for_end();
    let mut terminal = ratatui::try_init()?;
    let result = top.run(&mut terminal, &ended);
    // What cannot be put right here cannot be elsewhere.
    let _ = ratatui::try_restore();
    result.map(|()| End::Done)
}

struct Top {
    watched: Watched,
    view: View,
    every: Duration,
}

impl Top {
    fn run(&mut self, terminal: &mut DefaultTerminal, ended: &Arc<AtomicBool>) -> Result<(), Failure> {
        let mut look_at = Instant::now();
        while !ended.load(Ordering::Relaxed) {
            if look_at <= Instant::now() && !self.view.is_paused {
                let now = SystemTime::now();
                self.view.show(self.watched.look(now)?, now);
                look_at = Instant::now() + self.every;
            }
            terminal.draw(|frame| self.view.draw(frame))?;
            let wait = look_at.saturating_duration_since(Instant::now()).min(KEY);
            let wait = if self.view.is_paused { KEY } else { wait };
            if event::poll(wait)?
                && let Event::Key(key) = event::read()?
                && key.kind != KeyEventKind::Release
                && self.press(key)
            {
                break;
            }
        }
        Ok(())
    }

    /// Does what a key asks for; true if that is to end.
    fn press(&mut self, key: KeyEvent) -> bool {
        let Self { watched, view, .. } = self;
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return true,
            KeyCode::Char('r') | KeyCode::Esc if view.page.is_some() => view.page = None,
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Char('r') => view.page = Some(newest_rejected(watched)),
            KeyCode::Char(' ' | 'p') => view.is_paused = !view.is_paused,
            KeyCode::Char('s') => view.sort = view.sort.next(),
            KeyCode::Down | KeyCode::Char('j') => view.go(1),
            KeyCode::Up | KeyCode::Char('k') => view.go(-1),
            KeyCode::PageDown => view.go(10),
            KeyCode::PageUp => view.go(-10),
            _ => {}
        }
        false
    }
}

fn newest_rejected(watched: &Watched) -> Page {
    let lines = match watched.directory().rejected().newest() {
        Ok(Some(Ok(record))) => page(&record),
        Ok(Some(Err(damaged))) => vec![damaged.to_string()],
        Ok(None) => vec!["No record is in the rejected store.".to_owned()],
        Err(error) => vec![error_chain(&error)],
    };
    Page { lines, top: 0 }
}
