//! File systems of a test's own, of the kinds that a spool lies on: made, mounted, filled, cut off and mounted again. All is
//! undone when they are dropped, or when the process of the tests is gone.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

use crate::disk::{run, skip};
use crate::progress::wait_for;
use crate::spool_dir;

/// A kind of file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ext4,
    Xfs,
    Btrfs,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Ext4, Self::Xfs, Self::Btrfs];

    /// A size that is small, and that its tools accept.
    pub fn small_mib(self) -> u64 {
        match self {
            Self::Ext4 => 64,
            Self::Xfs => 320,
            Self::Btrfs => 256,
        }
    }

    fn format(self, image: &Path) -> Result<(), String> {
        let mut mkfs = match self {
            Self::Ext4 => {
                let mut mkfs = Command::new("mke2fs");
                mkfs.args(["-q", "-F", "-t", "ext4", "-m", "0"]);
                mkfs
            }
            Self::Xfs => {
                let mut mkfs = Command::new("mkfs.xfs");
                mkfs.args(["-q", "-f"]);
                mkfs
            }
            Self::Btrfs => {
                let mut mkfs = Command::new("mkfs.btrfs");
                mkfs.args(["-q", "-f"]);
                mkfs
            }
        };
        run(mkfs.arg(image))
    }
}

/// Unmounts when its input ends: when the test is done, or was killed. At once, if nobody uses the file system any more;
/// threads that are still closing their files keep it until they are done.
const UNMOUNT_AT_THE_END: &str = r#"trap "" INT TERM HUP; cat > /dev/null; umount "$0" || umount -l "$0""#;

/// A place at which something is mounted, until this is dropped.
#[derive(Debug)]
pub struct Mount {
    path: PathBuf,
    keeper: Child,
}

impl Mount {
    /// Makes the directory `path` and mounts there with this command, to which the directory is added.
    pub fn at(path: PathBuf, command: &mut Command) -> Result<Self, String> {
        let mount = Self::prepare(path)?;
        run(command.arg(&mount.path))?;
        Ok(mount)
    }

    /// The same for a program that goes on as long as it is mounted.
    fn served(path: PathBuf, server: &mut Command) -> Result<Self, String> {
        let mount = Self::prepare(path)?;
        mount.serve(server)?;
        Ok(mount)
    }

    fn prepare(path: PathBuf) -> Result<Self, String> {
        fs::create_dir_all(&path).expect("a directory");
        let mut keeper = Command::new("sh");
        keeper.args(["-c", UNMOUNT_AT_THE_END]).arg(&path).stdin(Stdio::piped()).stderr(Stdio::null());
        let keeper = keeper.spawn().map_err(|error| format!("sh: {error}"))?;
        Ok(Self { path, keeper })
    }

    fn serve(&self, server: &mut Command) -> Result<(), String> {
        let program = server.get_program().to_string_lossy().into_owned();
        let mut server = server.stdin(Stdio::null()).spawn().map_err(|error| format!("{program}: {error}"))?;
        wait_for("a file system that is served", || {
            if let Some(status) = server.try_wait().expect("a child process") {
                return Some(Err(format!("{program}: {status}")));
            }
            self.is_mounted().then_some(Ok(()))
        })?;
        // It ends when it is unmounted.
        std::thread::spawn(move || server.wait());
        Ok(())
    }

    fn is_mounted(&self) -> bool {
        device_at(&self.path).is_some()
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Unmounts before the end. What nobody uses any more can be in use for a moment by a process that is ending.
    pub fn unmount(&self) {
        wait_for("a file system that nobody uses", || run(Command::new("umount").arg(&self.path)).ok());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// The source of what is mounted at a path.
fn device_at(path: &Path) -> Option<String> {
    let mounts = fs::read_to_string("/proc/mounts").expect("a list of what is mounted");
    let path = path.to_str().expect("a path of ASCII characters");
    let mut lines = mounts.lines().map(|line| line.split(' '));
    lines.find_map(|mut words| words.next().filter(|_| words.next() == Some(path)).map(str::to_owned))
}

/// A file system in a file, mounted until this is dropped.
#[derive(Debug)]
pub struct FileSystem {
    options: String,
    mount: Mount,
    /// The disk with a volatile cache that the file system is on, if any.
    volatile: Option<Mount>,
    /// Removed last.
    dir: TempDir,
}

impl FileSystem {
    /// An empty file system. `None` where there can be none, which takes root and the kind's tools; that is then said.
    pub fn create(kind: Kind) -> Option<Self> {
        said(kind, Self::try_create(kind, kind.small_mib(), ""))
    }

    /// An empty file system on a disk that has a volatile cache, so that its power can be cut.
    pub fn create_volatile(kind: Kind, mib: u64) -> Option<Self> {
        said(kind, Self::try_create_volatile(kind, mib))
    }

    /// The same with a size and more mount options, each with a comma in front.
    pub(crate) fn try_create(kind: Kind, mib: u64, options: &str) -> Result<Self, String> {
        let dir = Self::formatted(kind, mib)?;
        Self::mount(dir, None, options)
    }

    fn try_create_volatile(kind: Kind, mib: u64) -> Result<Self, String> {
        let dir = Self::formatted(kind, mib)?;
        let volatile = Mount::served(dir.path().join("volatile"), &mut volatile_disk(&dir))?;
        Self::mount(dir, Some(volatile), "")
    }

    fn formatted(kind: Kind, mib: u64) -> Result<TempDir, String> {
        let dir = spool_dir();
        let image = dir.path().join("image");
        File::create(&image).and_then(|image| image.set_len(mib << 20)).expect("a sparse file");
        kind.format(&image)?;
        Ok(dir)
    }

    fn mount(dir: TempDir, volatile: Option<Mount>, options: &str) -> Result<Self, String> {
        let options = format!("loop{options}");
        let disk = match &volatile {
            Some(volatile) => volatile.path().join("disk"),
            None => dir.path().join("image"),
        };
        let mount = Mount::at(dir.path().join("mount"), Command::new("mount").args(["-o", &options]).arg(disk))?;
        Ok(Self { options, mount, volatile, dir })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.mount.path()
    }

    /// Mounts it anew, as after a start of the machine. No process may use it.
    pub fn restart(&self) {
        self.mount.unmount();
        let mut disk = self.dir.path().join("image");
        if let Some(volatile) = &self.volatile {
            volatile.unmount();
            volatile.serve(&mut volatile_disk(&self.dir)).expect("a disk that can be served again");
            disk = volatile.path().join("disk");
        }
        run(Command::new("mount").args(["-o", &self.options]).args([&*disk, self.path()]))
            .expect("a file system that can be mounted again");
    }

    /// Takes it away. No process may use it; its mount point stays, as an empty directory of another disk.
    pub fn unmount(&self) {
        self.mount.unmount();
    }

    /// Loses any of what is not flushed to the disk. Nothing reaches the disk any more until it is
    /// [restarted](Self::restart).
    pub fn cut_power(&self) {
        let volatile = self.volatile.as_ref().expect("a disk with a volatile cache");
        fs::write(volatile.path().join("power"), "off").expect("a switch");
    }

    /// Changes a mount option, such as `ro`.
    pub fn remount(&self, option: &str) {
        run(Command::new("mount").args(["-o", &format!("remount,{option}")]).arg(self.path()))
            .expect("a file system that can be remounted");
    }

    /// The name of its block device.
    pub fn device(&self) -> String {
        let device = device_at(self.path()).expect("it is mounted");
        device.strip_prefix("/dev/").expect("a device").to_owned()
    }

    /// Takes every byte that is free, and the place of every small file, until [`free`](Self::free).
    pub fn fill(&self) {
        fill(self.path());
    }

    /// Gives back what [`fill`](Self::fill) took.
    pub fn free(&self) {
        fs::remove_dir_all(filler(self.path())).expect("a directory");
        sync(self.path());
    }
}

/// Takes all the space that there is for what lies in a directory, and the place of every small file.
pub fn fill(dir: &Path) {
    let filler = filler(dir);
    // Where not even that can be made, there is nothing to take.
    let _ = fs::create_dir(&filler);
    // What the file system had reserved, or had not given back yet, may be free after a sync.
    for _ in 0..2 {
        fill_with_large_files(&filler);
        sync(dir);
        fill_with_bytes(&filler);
        fill_with_small_files(&filler);
        sync(dir);
    }
}

fn filler(dir: &Path) -> PathBuf {
    dir.join("filler")
}

fn sync(dir: &Path) {
    let _ = File::open(dir).and_then(|root| root.sync_all());
}

/// The path of another file in a directory.
fn another(filler: &Path) -> PathBuf {
    static FILES: AtomicU64 = AtomicU64::new(0);
    filler.join(FILES.fetch_add(1, Ordering::Relaxed).to_string())
}

/// Without writing what they hold.
fn fill_with_large_files(filler: &Path) {
    for size in ["128M", "32M", "8M", "2M", "512K"] {
        let is_made = |file: &PathBuf| run(Command::new("fallocate").args(["-l", size]).arg(file)).is_ok();
        let last = std::iter::repeat_with(|| another(filler)).find(|file| !is_made(file));
        let _ = last.map(fs::remove_file);
    }
}

fn fill_with_bytes(filler: &Path) {
    let bytes = vec![b'x'; 1 << 20];
    let Ok(mut file) = File::create_new(another(filler)) else { return };
    for size in [bytes.len(), 4096, 1] {
        while file.write_all(&bytes[..size]).is_ok() {}
    }
    // Space that was promised can still turn out to be missing.
    let _ = file.sync_all();
}

fn fill_with_small_files(filler: &Path) {
    let is_made = |file: &PathBuf| File::create_new(file).and_then(|mut file| file.write_all(&[b'x'; 1500])).is_ok();
    let _ = std::iter::repeat_with(|| another(filler)).find(|file| !is_made(file));
}

fn said(kind: Kind, created: Result<FileSystem, String>) -> Option<FileSystem> {
    created.inspect_err(|why| skip(&format!("no {kind:?} of its own: {why}"))).ok()
}

/// Debian's Python, which has Debian's packages.
fn volatile_disk(dir: &TempDir) -> Command {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("common/volatile_disk.py");
    let mut command = Command::new("/usr/bin/python3");
    command.arg(program).arg(dir.path().join("image")).arg(dir.path().join("volatile"));
    command.arg(fastrand::u32(..).to_string());
    command
}
