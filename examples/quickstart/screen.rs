//! Narration and progress: bars in a terminal, a line a second elsewhere.

use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::ledger::{SharedLedger, books};
use crate::service::RECORDS_PER_SECOND;

/// The approximate length of the whole story in records and spans: a full bar.
const FULL_BAR_SECONDS: u32 = 20;

/// The output of the story.
pub(crate) struct Screen {
    bars: MultiProgress,
    began: Instant,
    chapters: AtomicU32,
    stop: mpsc::Sender<()>,
    ticker: JoinHandle<()>,
}

impl Screen {
    /// Begins to show the ledger.
    pub(crate) fn start(ledger: SharedLedger) -> Self {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        let began = Instant::now();
        let (stop, stopped) = mpsc::channel();
        let shown = bars.clone();
        let ticker = std::thread::spawn(move || {
            if shown.is_hidden() {
                show_lines(&ledger, began, &stopped);
            } else {
                show_bars(&ledger, &shown, &stopped);
            }
        });
        Self { bars, began, chapters: AtomicU32::new(1), stop, ticker }
    }

    /// Prints a chapter: a heading, and further lines below.
    pub(crate) fn chapter(&self, text: &str) {
        let number = self.chapters.fetch_add(1, Ordering::Relaxed);
        let heading = format!("{:5.1} s  {number}. ", self.began.elapsed().as_secs_f64());
        self.print("");
        self.print(&format!("{heading}{}", text.replace('\n', "\n            ")));
    }

    /// Prints one more line of the chapter.
    pub(crate) fn line(&self, text: &str) {
        self.print(&format!("            {text}"));
    }

    /// Leaves the last state of the bars in place.
    pub(crate) fn finish(self) {
        drop(self.stop);
        let _ = self.ticker.join();
        if !self.bars.is_hidden() {
            print_line(""); // the cursor is still on the last bar's line
        }
    }

    fn print(&self, line: &str) {
        if self.bars.is_hidden() {
            print_line(line);
        } else {
            let _ = self.bars.println(line);
        }
    }
}

fn show_bars(ledger: &SharedLedger, bars: &MultiProgress, stopped: &mpsc::Receiver<()>) {
    let style = |colour: &str| {
        ProgressStyle::with_template(&format!("  {{prefix:9}} {{bar:48.{colour}/black.bright}} {{human_pos:>7}}"))
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("━━─")
    };
    let bar = |name: &'static str, colour| {
        let bar = ProgressBar::new(u64::from(2 * FULL_BAR_SECONDS * RECORDS_PER_SECOND)).with_style(style(colour));
        bars.add(bar.with_prefix(name))
    };
    let space = bars.add(ProgressBar::new(1).with_style(ProgressStyle::with_template(" ").unwrap_or(style("white"))));
    let (emitted, in_spool) = (bar("emitted", "white"), bar("in spool", "yellow"));
    let delivered = bar("delivered", "green");
    loop {
        let ended = !matches!(stopped.recv_timeout(Duration::from_millis(100)), Err(RecvTimeoutError::Timeout));
        let figures = Figures::from_books(ledger);
        space.tick();
        for (bar, position) in
            [(&emitted, figures.emitted), (&in_spool, figures.in_spool), (&delivered, figures.delivered)]
        {
            if bar.length().is_some_and(|length| length < figures.emitted) {
                bar.set_length(figures.emitted);
            }
            bar.set_position(position);
        }
        if ended {
            for bar in [space, emitted, in_spool, delivered] {
                bar.abandon();
            }
            return;
        }
    }
}

fn show_lines(ledger: &SharedLedger, began: Instant, stopped: &mpsc::Receiver<()>) {
    let mut ended = false;
    while !ended {
        ended = !matches!(stopped.recv_timeout(Duration::from_secs(1)), Err(RecvTimeoutError::Timeout));
        let figures = Figures::from_books(ledger);
        print_line(&format!(
            "{:5.1} s     emitted {:>6}   in spool {:>6}   delivered {:>6}",
            began.elapsed().as_secs_f64(),
            HumanCount(figures.emitted).to_string(),
            HumanCount(figures.in_spool).to_string(),
            HumanCount(figures.delivered).to_string(),
        ));
    }
}

/// The ledger at one moment, of records and spans together.
struct Figures {
    emitted: u64,
    in_spool: u64,
    delivered: u64,
}

impl Figures {
    fn from_books(ledger: &SharedLedger) -> Self {
        let ledger = books(ledger);
        Self { emitted: 2 * ledger.emitted(), in_spool: ledger.in_spool(), delivered: ledger.delivered() }
    }
}

/// Like `println!`, but does not panic if the reader has gone.
fn print_line(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
