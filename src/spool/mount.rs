//! [`Mount`]: the file system that a path lies on, as Linux tells it. It reads `/proc/self/mountinfo` and touches nothing
//! else.

use std::fs;
use std::path::{Path, PathBuf};

/// File systems that write what is overwritten to another place, have no disk, or have it behind a network.
const NEVER_IN_PLACE: &[&str] =
    &["bcachefs", "btrfs", "ceph", "cifs", "nfs", "nfs4", "nilfs2", "ramfs", "smb3", "tmpfs", "zfs"];

/// A file system that is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    id: u64,
    /// The mount that it lies on. That of the root is not listed.
    parent: u64,
    pub(crate) point: PathBuf,
    /// Its type: `ext4`, say.
    pub(crate) kind: String,
    /// Those of the mount, then those of the file system.
    options: Vec<String>,
}

impl Mount {
    /// The mount that a path lies on. Unlike the number of a device, it tells bind mounts apart, and takes no subvolume for a
    /// volume. `None` where nothing tells.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let path = fs::canonicalize(path).ok()?;
        let mountinfo = fs::read("/proc/self/mountinfo").ok()?;
        Self::find(&String::from_utf8_lossy(&mountinfo), &path.to_string_lossy())
    }

    /// Follows a path without links from the root, as the kernel does: from one mount to what is mounted on it.
    fn find(mountinfo: &str, path: &str) -> Option<Self> {
        let mut mounts: Vec<_> = mountinfo.lines().filter_map(Self::read).collect();
        let listed: Vec<_> = mounts.iter().map(|mount| mount.id).collect();
        mounts.retain(|mount| Path::new(path).starts_with(&mount.point));
        // The path comes by the shortest of those on one mount first, and never gets to the others.
        mounts.sort_by_key(|mount| mount.point.as_os_str().len());
        let is_root = |mount: &Self| mount.parent == mount.id || !listed.contains(&mount.parent);
        let mut last = mounts.remove(mounts.iter().position(is_root)?);
        let mut found = last.clone();
        while let Some(next) = mounts.iter().position(|mount| mount.parent == last.id) {
            last = mounts.remove(next);
            // It stands for a volume that is mounted when it is needed.
            if last.kind != "autofs" {
                found = last.clone();
            }
        }
        Some(found)
    }

    /// Reads a line: `36 35 98:0 / /mnt rw,noatime shared:1 - ext4 /dev/sda1 rw,sync`. Optional fields end with a hyphen.
    fn read(line: &str) -> Option<Self> {
        let mut fields = line.split(' ');
        let (id, parent) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let (point, own) = (unescape(fields.nth(2)?).into(), fields.next()?);
        let mut fields = fields.skip_while(|field| *field != "-").skip(1);
        let (kind, of_all) = (fields.next()?.to_owned(), fields.nth(1)?);
        let options = own.split(',').chain(of_all.split(',')).map(str::to_owned).collect();
        Some(Self { id, parent, point, kind, options })
    }

    fn has(&self, option: &str) -> bool {
        self.options.iter().any(|other| other == option)
    }

    /// Whether every write waits for the disk.
    pub(super) fn is_sync(&self) -> bool {
        self.has("sync")
    }

    /// Whether nothing can be written.
    pub(crate) fn is_read_only(&self) -> bool {
        self.has("ro")
    }

    /// Whether it pays to write zeros where something else will be written later: only what is overwritten in place is
    /// synced faster, and only where writing the zeros does not wait itself.
    pub(super) fn overwrites_in_place(&self) -> bool {
        !NEVER_IN_PLACE.contains(&self.kind.as_str()) && !self.is_sync() && !self.is_read_only()
    }
}

/// A path as it is: spaces, tabs, line feeds and backslashes are listed as three octal digits.
fn unescape(field: &str) -> String {
    let mut parts = field.split('\\');
    let mut path = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => path.extend([char::from(byte).to_string().as_str(), &part[3..]]),
            None => path.extend(["\\", part]),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = r"22 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard,errors=remount-ro
23 22 0:21 / /proc rw,nosuid,nodev,noexec,relatime shared:12 - proc proc rw
24 22 0:22 / /run rw,nosuid shared:2 master:1 - tmpfs tmpfs rw,size=1632712k,mode=755
40 22 7:0 / /var/lib/with\040space rw,relatime shared:30 - ext4 /dev/loop0 rw,sync
41 22 0:40 /subvol /data rw,noatime - btrfs /dev/sdb rw,ssd,subvolid=256,subvol=/subvol
42 41 254:0 /srv/spool /data/spool rw,relatime - ext4 /dev/vda rw
43 22 8:1 / /backup\134\011 ro,relatime - xfs /dev/sdc1 rw,attr2
50 22 8:2 / /a/b rw - xfs /dev/sdd1 rw
51 22 8:3 / /a rw - ext4 /dev/sdd2 rw
52 51 8:4 / /a rw - zfs pool/a rw
60 22 0:42 / /auto rw - autofs systemd-1 rw
61 22 0:43 / /asked rw - autofs systemd-1 rw
62 61 254:32 / /asked rw - ext4 /dev/vdc rw
a line that is none
";

    fn on(path: &str) -> Mount {
        Mount::find(LISTED, path).unwrap()
    }

    #[test]
    fn a_path_lies_on_the_innermost_mount_of_which_it_is_a_part() {
        let expected = [
            ("/", "/", "ext4"),
            ("/procedures", "/", "ext4"),
            ("/run/lock", "/run", "tmpfs"),
            ("/var/lib/with space/spool", "/var/lib/with space", "ext4"),
            ("/data", "/data", "btrfs"),
            ("/data/spool/queue", "/data/spool", "ext4"),
            ("/backup\\\t/x", "/backup\\\t", "xfs"),
            ("/auto", "/", "ext4"),
            ("/asked/x", "/asked", "ext4"),
        ];
        for (path, point, kind) in expected {
            let mount = on(path);
            assert_eq!((mount.point.as_path(), mount.kind.as_str()), (Path::new(point), kind), "{path}");
        }
    }

    #[test]
    fn a_later_mount_hides_those_below_it_and_on_its_place() {
        assert_eq!((on("/a").kind.as_str(), on("/a/b/c").kind.as_str()), ("zfs", "zfs"));
    }

    #[test]
    fn zeros_pay_only_where_a_file_is_overwritten_in_place_and_writes_do_not_wait() {
        let pays = |path: &str| on(path).overwrites_in_place();
        assert!(pays("/srv") && pays("/data/spool"));
        assert!(!pays("/run") && !pays("/data") && !pays("/a"));
        assert!(on("/var/lib/with space").is_sync() && !pays("/var/lib/with space"));
        assert!(on("/backup\\\t").is_read_only() && !pays("/backup\\\t"));
    }

    #[test]
    fn nothing_is_said_of_a_path_where_no_root_is_listed() {
        assert_eq!(Mount::find("", "/"), None);
        assert_eq!(Mount::find("24 22 0:22 / /run rw - tmpfs tmpfs rw", "/srv"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_file_system_of_a_directory_is_found() {
        assert_eq!(Mount::of(Path::new("/proc/self")).map(|mount| mount.kind).as_deref(), Some("proc"));
        assert!(Mount::of(tempfile::tempdir().unwrap().path()).is_some());
    }
}
