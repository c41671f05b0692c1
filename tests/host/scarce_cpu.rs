//! An application that begins to log while the CPU is scarce, everything bridged: the storage engine's threads log nothing
//! through the exporter, or the simple processor would wait for one that waits for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use common::{Child, Receiver, run, skip, spool_dir, variable};

use super::CHILD;

/// Starts of an application, several at a time.
const AT_ONCE: usize = 8;

/// Processes that together get a part of one CPU, until this is dropped.
struct Limit(PathBuf);

impl Limit {
    /// A limit of so many hundredths of one CPU. `None` where there are no such limits, or they take another user; this is then said.
    fn create(hundredths: usize) -> Option<Self> {
        let name = format!("opentelemetry-spool-test-{}", process::id());
        let limits = [
            (Path::new("/sys/fs/cgroup/cpu"), "cpu.cfs_quota_us", format!("{hundredths}000")),
            (Path::new("/sys/fs/cgroup"), "cpu.max", format!("{hundredths}000 100000")),
        ];
        for (root, file, value) in limits {
            let limit = Self(root.join(&name));
            if fs::create_dir(&limit.0).and_then(|()| fs::write(limit.0.join(file), value)).is_ok() {
                return Some(limit);
            }
        }
        skip("no limit of CPU time can be set");
        None
    }

    /// A command that starts the child in it, on one CPU: there the engine's threads get in before the application's most often.
    fn child(&self) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", r#"echo $$ > "$0/cgroup.procs" && exec taskset -c 0 "$@""#]).arg(&self.0).arg(CHILD);
        command
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn every_start_with_a_tenth_of_a_cpu_logs_what_the_application_logs_and_nothing_else() {
    if let Err(why) = run(Command::new("taskset").args(["-c", "0", "true"])) {
        return skip(&why);
    }
    let Some(limit) = Limit::create(10 * AT_ONCE) else { return };
    let receiver = Receiver::start_down();
    let url = receiver.url("/");
    let starts = usize::try_from(variable("SPOOL_TEST_STARTS", 16)).expect("a number");
    for processor in ["simple", "batch"] {
        for _ in 0..starts.div_ceil(AT_ONCE) {
            let spools: Vec<_> = (0..AT_ONCE).map(|_| spool_dir()).collect();
            let children: Vec<_> = spools
                .iter()
                .map(|spool| {
                    let settings = [
                        ("SPOOL_CHILD_PROCESSOR", processor.as_ref()),
                        ("SPOOL_CHILD_ENDPOINT", url.as_ref()),
                        ("SPOOL_CHILD_DIR", spool.path().as_os_str()),
                        ("SPOOL_CHILD_ROOT", "".as_ref()),
                    ];
                    let mut child = Child::start(limit.child(), "bridged", settings);
                    child.tell("log 100");
                    child.tell("sync");
                    child
                })
                .collect();
            for mut child in children {
                child.wait_for("done log 100");
                assert_eq!(child.wait_for("done sync:"), "100", "records, with the {processor} processor");
                child.finish();
            }
        }
    }
}
