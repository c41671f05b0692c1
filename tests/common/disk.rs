//! A disk of a test's own, to cut its power, to fill it up and to break it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use tempfile::TempDir;

use super::progress::wait_for;
use super::spool_dir;

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

/// Unmounts when its input ends: when the test is done with the disk, or was killed. At once, if nobody uses the disk any
/// more; threads that are still closing their files keep it until they are done.
const UNMOUNT_AT_THE_END: &str = r#"trap "" INT TERM HUP; cat > /dev/null; umount "$0" || umount -l "$0""#;

/// An ext4 file system in a file, mounted until this is dropped. Its journal is written when something is synced, and
/// not every five seconds as well.
#[derive(Debug)]
pub struct Disk {
    mount: PathBuf,
    image: PathBuf,
    keeper: Child,
    /// Removed last.
    _dir: TempDir,
}

impl Disk {
    /// An empty disk. `None` where there can be none, which takes root; that is then said.
    pub fn create(mib: u64) -> Option<Self> {
        Self::try_create(mib).inspect_err(|why| skip(&format!("no disk of its own to cut off or fill up: {why}"))).ok()
    }

    fn try_create(mib: u64) -> Result<Self, String> {
        // Needed later, when it is too late to skip anything.
        run(Command::new("perl").args(["-e", "1"]))?;
        let dir = spool_dir();
        let (mount, image) = (dir.path().join("disk"), dir.path().join("image"));
        fs::create_dir(&mount).expect("a directory");
        File::create(&image).and_then(|image| image.set_len(mib << 20)).expect("a sparse file");
        run(Command::new("mke2fs").args(["-q", "-F", "-t", "ext4", "-m", "0"]).arg(&image))?;
        let mut keeper = Command::new("sh");
        keeper.args(["-c", UNMOUNT_AT_THE_END]).arg(&mount).stdin(Stdio::piped()).stderr(Stdio::null());
        let keeper = keeper.spawn().map_err(|error| format!("sh: {error}"))?;
        let disk = Self { mount, image, keeper, _dir: dir };
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mount
    }

    fn mount(&self) -> Result<(), String> {
        run(Command::new("mount").args(["-o", "loop,commit=600,errors=remount-ro"]).args([&self.image, &self.mount]))
    }

    /// Takes the disk away. No process may use it; its mount point stays, as an empty directory of another disk.
    pub fn unmount(&self) {
        run(Command::new("umount").arg(&self.mount)).expect("nobody uses the disk any more");
    }

    /// Loses all that is not synced yet. Reads and writes fail from now on.
    pub fn cut_power(&self) {
        run(Command::new("perl").args(["-e", CUT_POWER]).arg(&self.mount))
            .expect("a file system that can be shut down");
    }

    /// Mounts the disk anew, as after a start of the machine. No process may use it.
    pub fn restart(&self) {
        self.unmount();
        self.mount().expect("a disk that can be mounted again");
    }

    /// Takes the disk away from those that use it: they keep the files that they have open, and find no other.
    pub fn unmount_lazily(&self) {
        run(Command::new("umount").arg("-l").arg(&self.mount)).expect("a disk that can be unmounted");
    }

    /// Changes a mount option, such as `ro`.
    pub fn remount(&self, option: &str) {
        run(Command::new("mount").args(["-o", &format!("remount,{option}")]).arg(&self.mount))
            .expect("a disk that can be remounted");
    }

    /// From now on the file system rejects every write, as after an error in its own structures, until
    /// [`restart`](Self::restart). `None` where the kernel has no such thing; that is then said.
    pub fn break_for_good(&self) -> Option<()> {
        let trigger = Path::new("/sys/fs/ext4").join(self.device()).join("trigger_fs_error");
        fs::write(&trigger, "a test").inspect_err(|error| skip(&format!("{}: {error}", trigger.display()))).ok()
    }

    /// How often the file system's journal was written since it was mounted. `None` where the kernel does not tell.
    pub fn commits(&self) -> Option<u64> {
        let info = Path::new("/proc/fs/jbd2").join(format!("{}-8", self.device())).join("info");
        let info = fs::read_to_string(&info).inspect_err(|error| skip(&format!("{}: {error}", info.display()))).ok()?;
        info.split(' ').next()?.parse().ok()
    }

    /// Waits until the journal was written. Nothing tells when it is, so this asks again.
    pub fn wait_for_commit_after(&self, before: u64) {
        wait_for("a sync", || self.commits().filter(|commits| *commits > before));
    }

    /// The name of its block device.
    fn device(&self) -> String {
        let mounts = fs::read_to_string("/proc/mounts").expect("a list of what is mounted");
        let mount = self.mount.to_str().expect("a path of ASCII characters");
        let line = mounts.lines().find(|line| line.split(' ').nth(1) == Some(mount)).expect("the disk is mounted");
        line.split(' ').next().and_then(|device| device.strip_prefix("/dev/")).expect("a device").to_owned()
    }

    /// Takes every byte that is free, until [`free`](Self::free).
    pub fn fill(&self) {
        let bytes = vec![0; 1 << 20];
        let mut file = OpenOptions::new().create(true).append(true).open(self.filler()).expect("a file");
        // What the file system had reserved, or had not given back yet, may be free after a sync.
        for _ in 0..2 {
            for size in [bytes.len(), 4096, 1] {
                while file.write_all(&bytes[..size]).is_ok() {}
            }
            // Space that was promised can still turn out to be missing.
            let _ = file.sync_all();
        }
    }

    /// Gives back what [`fill`](Self::fill) took.
    pub fn free(&self) {
        fs::remove_file(self.filler()).expect("a file");
        File::open(&self.mount).and_then(|root| root.sync_all()).expect("a disk that works");
    }

    fn filler(&self) -> PathBuf {
        self.mount.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}
