//! The progress: a bar for each system in a terminal, a line a second elsewhere. It is on standard error, so that
//! standard output is the report's.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};

use crate::args::Args;
use crate::report::run::Sample;

pub(crate) struct Progress {
    load: f64,
    outage: Option<std::ops::Range<f64>>,
    rounds: u32,
    silent: bool,
    bar: RefCell<ProgressBar>,
    name: RefCell<String>,
    /// The last second that has its line.
    told: Cell<u64>,
}

impl Progress {
    /// Of so many loads of systems.
    pub(crate) fn new(args: &Args, loads: usize) -> Self {
        let progress = Self {
            load: args.seconds,
            outage: args.outage(),
            rounds: args.rounds,
            silent: args.json,
            bar: RefCell::new(ProgressBar::hidden()),
            name: RefCell::default(),
            told: Cell::new(0),
        };
        if !progress.silent {
            let runs = args.rounds * loads as u32;
            let most = (args.load() + args.drain()) * runs;
            eprintln!("{runs} times {} s of load, {} s at most in all", args.seconds, most.as_secs());
        }
        progress
    }

    pub(crate) fn begin(&self, system: &str, round: u32) {
        let name = if self.rounds == 1 { system.to_owned() } else { format!("{system} {round}/{}", self.rounds) };
        self.told.set(0);
        if !self.silent {
            let style = ProgressStyle::with_template("{prefix:18} {bar:24.cyan/blue} {msg}").expect("a template");
            let bar = ProgressBar::new((self.load * 10.0) as u64).with_style(style).with_prefix(name.clone());
            bar.enable_steady_tick(Duration::from_millis(200));
            *self.bar.borrow_mut() = bar;
        }
        *self.name.borrow_mut() = name;
    }

    pub(crate) fn show(&self, sample: &Sample) {
        let bar = self.bar.borrow();
        let is_down = self.outage.as_ref().is_some_and(|outage| outage.contains(&sample.seconds));
        let message = format!(
            "{:5.1} s  emitted {:>10}  arrived {:>10}  disk {:>10}  memory {:>10}{}",
            sample.seconds,
            HumanCount(sample.emitted).to_string(),
            HumanCount(sample.arrived).to_string(),
            HumanBytes(sample.disk_bytes).to_string(),
            HumanBytes(sample.memory_bytes).to_string(),
            if is_down {
                "  endpoint down"
            } else if sample.seconds > self.load {
                "  delivering"
            } else {
                ""
            },
        );
        let second = sample.seconds as u64;
        if bar.is_hidden() && !self.silent && second > self.told.get() {
            self.told.set(second);
            eprintln!("{:18} {message}", self.name.borrow());
        }
        bar.set_position((sample.seconds.min(self.load) * 10.0) as u64);
        bar.set_message(message);
    }

    /// Leaves the last state where it is.
    pub(crate) fn end(&self) {
        self.bar.borrow().abandon();
    }

    pub(crate) fn finish(&self) {
        if !self.silent {
            eprintln!();
        }
    }
}
