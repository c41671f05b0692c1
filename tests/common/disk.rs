//! A disk of a test's own, to cut its power, to fill it up and to break it.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use super::filesystem::{FileSystem, Kind};
use super::progress::wait_for;

/// Stops the file system given to it as by a power cut: with `EXT4_IOC_SHUTDOWN` and `EXT4_GOING_FLAGS_NOLOGFLUSH`.
const CUT_POWER: &str = r#"
    open(my $mount, "<", $ARGV[0]) or die "open: $!\n";
    my $without_journal = pack("L", 2);
    ioctl($mount, 0x8004587d, $without_journal) or die "ioctl: $!\n";
"#;

/// Says, also where the test harness swallows what tests print, that the running test cannot be done here. With
/// `SPOOL_TEST_REQUIRE` the test fails instead: everything is there that it could need.
pub fn skip(why: &str) {
    let test = thread::current();
    assert!(std::env::var_os("SPOOL_TEST_REQUIRE").is_none(), "what this test needs is missing: {why}");
    let _ = writeln!(io::stderr(), "skipped: {}: {why}", test.name().unwrap_or("a test"));
}

/// Runs a program that is to succeed.
pub fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}

/// A disk on which every write and sync waits until this is dropped.
#[must_use]
#[derive(Debug)]
pub struct Stall(PathBuf);

impl Drop for Stall {
    fn drop(&mut self) {
        let _ = run(Command::new("fsfreeze").arg("--unfreeze").arg(&self.0));
    }
}

/// An ext4 file system of which the kernel tells more. Its journal is written when something is synced, and not every five
/// seconds as well.
#[derive(Debug)]
pub struct Disk(FileSystem);

impl Disk {
    /// An empty disk. `None` where there can be none, which takes root; that is then said.
    pub fn create(mib: u64) -> Option<Self> {
        Self::try_create(mib).inspect_err(|why| skip(&format!("no disk of its own to cut off or fill up: {why}"))).ok()
    }

    fn try_create(mib: u64) -> Result<Self, String> {
        // Needed later, when it is too late to skip anything.
        run(Command::new("perl").args(["-e", "1"]))?;
        FileSystem::try_create(Kind::Ext4, mib, ",commit=600,errors=remount-ro").map(Self)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes the disk away. No process may use it; its mount point stays, as an empty directory of another disk.
    pub fn unmount(&self) {
        self.0.unmount();
    }

    /// Has every write and sync wait until what this returns is dropped.
    pub fn stall(&self) -> Stall {
        run(Command::new("fsfreeze").arg("--freeze").arg(self.path())).expect("a file system that can be frozen");
        Stall(self.path().to_owned())
    }

    /// Loses all that is not synced yet. Reads and writes fail from now on.
    pub fn cut_power(&self) {
        run(Command::new("perl").args(["-e", CUT_POWER]).arg(self.path()))
            .expect("a file system that can be shut down");
    }

    /// Mounts the disk anew, as after a start of the machine. No process may use it.
    pub fn restart(&self) {
        self.0.restart();
    }

    /// Takes the disk away from those that use it: they keep the files that they have open, and find no other.
    pub fn unmount_lazily(&self) {
        run(Command::new("umount").arg("-l").arg(self.path())).expect("a disk that can be unmounted");
    }

    /// Changes a mount option, such as `ro`.
    pub fn remount(&self, option: &str) {
        self.0.remount(option);
    }

    /// From now on the file system rejects every write, as after an error in its own structures, until
    /// [`restart`](Self::restart). `None` where the kernel has no such thing; that is then said.
    pub fn break_for_good(&self) -> Option<()> {
        let trigger = Path::new("/sys/fs/ext4").join(self.0.device()).join("trigger_fs_error");
        fs::write(&trigger, "a test").inspect_err(|error| skip(&format!("{}: {error}", trigger.display()))).ok()
    }

    /// How often the file system's journal was written since it was mounted. `None` where the kernel does not tell.
    pub fn commits(&self) -> Option<u64> {
        let info = Path::new("/proc/fs/jbd2").join(format!("{}-8", self.0.device())).join("info");
        let info = fs::read_to_string(&info).inspect_err(|error| skip(&format!("{}: {error}", info.display()))).ok()?;
        info.split(' ').next()?.parse().ok()
    }

    /// Waits until the journal was written. Nothing tells when it is, so this asks again.
    pub fn wait_for_commit_after(&self, before: u64) {
        wait_for("a sync", || self.commits().filter(|commits| *commits > before));
    }

    /// Takes every byte that is free, until [`free`](Self::free).
    pub fn fill(&self) {
        self.0.fill();
    }

    /// Gives back what [`fill`](Self::fill) took.
    pub fn free(&self) {
        self.0.free();
    }
}
