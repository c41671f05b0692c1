//! Whether a directory lies on a volume that is mounted.
//!
//! A service that starts while its volume is away would spool under the mount point: on the wrong disk, and hidden as soon as the
//! volume is back.

#[cfg(unix)]
use std::io;
use std::path::Path;
#[cfg(unix)]
use std::path::PathBuf;

/// Sees that something is mounted at `mount`, and that `dir` lies on it. `dir` need not be there yet.
///
/// # Errors
///
/// The problem: what was found, and what is expected.
#[cfg(unix)]
pub(crate) fn check(mount: &Path, dir: &Path) -> Result<(), String> {
    let (shown, expected) = (mount.display(), dir.display());
    let expected =
        format!("expected is that a volume is mounted at `{shown}`, and the spool directory `{expected}` on it");
    let fails = |what: &Path, error| format!("`{}` cannot be looked up: {error}; {expected}", what.display());
    // With the dot, a volume that is mounted when it is needed is mounted now.
    let point = mount.join(".").canonicalize().map_err(|error| fails(mount, error))?;
    let found = mounted_at(&point).map_err(|error| fails(mount, error))?;
    if found != point {
        let found = found.display();
        return Err(format!(
            "`{shown}` is no mount point, but a directory on what is mounted at `{found}`; {expected}"
        ));
    }
    let of_dir =
        std::path::absolute(dir).and_then(|dir| mounted_at(&there(&dir))).map_err(|error| fails(dir, error))?;
    if of_dir != point {
        let (dir, found) = (dir.display(), of_dir.display());
        return Err(format!("`{dir}` lies on what is mounted at `{found}`; {expected}"));
    }
    Ok(())
}

/// Where there are no mount points.
#[cfg(not(unix))]
pub(crate) fn check(_mount: &Path, _dir: &Path) -> Result<(), String> {
    Err("mount points are known on Unix only".to_owned())
}

/// The nearest directory above that is there, or the path itself, without symbolic links.
#[cfg(unix)]
fn there(path: &Path) -> PathBuf {
    path.ancestors().find_map(|above| above.canonicalize().ok()).unwrap_or_else(|| path.to_owned())
}

/// The mount point of the file system that a path without symbolic links lies on.
#[cfg(target_os = "linux")]
fn mounted_at(path: &Path) -> io::Result<PathBuf> {
    match std::fs::read("/proc/self/mountinfo") {
        // Unlike the number of the device, it knows bind mounts, and does not take a subvolume for a volume.
        Ok(table) => Ok(table::mount_point(&table::parse(&table), path)),
        Err(_) => by_device(path),
    }
}

#[cfg(all(unix, not(target_os = "linux")))]
fn mounted_at(path: &Path) -> io::Result<PathBuf> {
    by_device(path)
}

/// The last directory on the way up that is on the same device.
#[cfg(unix)]
fn by_device(path: &Path) -> io::Result<PathBuf> {
    let device = |path: &Path| path.metadata().map(|meta| std::os::unix::fs::MetadataExt::dev(&meta));
    let (mut point, of_path) = (path, device(path)?);
    while let Some(above) = point.parent() {
        if device(above)? != of_path {
            break;
        }
        point = above;
    }
    Ok(point.to_owned())
}

/// The table of mounts of Linux.
#[cfg(target_os = "linux")]
mod table {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    use std::path::{Path, PathBuf};

    /// A line of `/proc/self/mountinfo`.
    pub(super) struct Mount {
        id: u64,
        /// What it is mounted on.
        parent: u64,
        point: PathBuf,
        /// It stands for a volume that is not mounted yet.
        is_trigger: bool,
    }

    pub(super) fn parse(table: &[u8]) -> Vec<Mount> {
        table.split(|byte| *byte == b'\n').filter_map(line).collect()
    }

    /// `36 35 98:0 /root /mount/point options [more] - type source options`
    fn line(line: &[u8]) -> Option<Mount> {
        let fields: Vec<_> = line.split(|byte| *byte == b' ').collect();
        let number = |field: usize| std::str::from_utf8(fields.get(field)?).ok()?.parse().ok();
        let separator = fields.iter().position(|field| *field == b"-")?;
        Some(Mount {
            id: number(0)?,
            parent: number(1)?,
            point: PathBuf::from(OsString::from_vec(unescaped(fields.get(4)?))),
            is_trigger: *fields.get(separator + 1)? == b"autofs",
        })
    }

    /// A space in a path is `\040`, and so on.
    fn unescaped(field: &[u8]) -> Vec<u8> {
        let (mut bytes, mut rest) = (Vec::with_capacity(field.len()), field);
        while let Some((&byte, behind)) = rest.split_first() {
            let octal = behind.get(..3).filter(|_| byte == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
            let escaped = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
            bytes.push(escaped.unwrap_or(byte));
            rest = if escaped.is_some() { &behind[3..] } else { behind };
        }
        bytes
    }

    /// Goes down the path from mount to mount as the kernel does: a volume may be hidden by one that is mounted above it.
    pub(super) fn mount_point(mounts: &[Mount], path: &Path) -> PathBuf {
        let on = |mount: &Mount| mounts.iter().find(|parent| parent.id == mount.parent && parent.id != mount.id);
        let next = |current: Option<&Mount>| {
            let above = mounts.iter().filter(|mount| path.starts_with(&mount.point));
            let here = above.filter(|mount| on(mount).map(|parent| parent.id) == current.map(|current| current.id));
            here.min_by_key(|mount| mount.point.components().count())
        };
        let (mut point, mut current) = (Path::new("/"), None);
        // No more often than there are mounts: the table may have changed while it was read.
        for _ in mounts {
            let Some(mount) = next(current) else { break };
            if !mount.is_trigger {
                point = &mount.point;
            }
            current = Some(mount);
        }
        point.to_owned()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        const TABLE: &str = "\
21 1 254:0 / / rw,relatime - ext4 /dev/vda rw
20 21 0:5 / /run rw - tmpfs tmpfs rw
30 21 254:16 / /vol/a\\040b rw,relatime shared:9 - xfs /dev/vdb rw
31 21 254:0 /srv/logs /bind rw - ext4 /dev/vda rw
32 21 0:40 / /hidden/below rw - tmpfs tmpfs rw
33 21 0:41 / /hidden rw - tmpfs tmpfs rw
34 21 0:42 / /auto rw - autofs systemd-1 rw
35 21 0:43 / /asked rw - autofs systemd-1 rw
36 35 254:32 / /asked rw - ext4 /dev/vdc rw
37 36 254:48 / /asked/more rw - ext4 /dev/vdd rw
";

        #[test]
        fn a_path_lies_on_the_mount_that_the_kernel_would_find() {
            let mounts = parse(TABLE.as_bytes());
            for (path, expected) in [
                ("/", "/"),
                ("/vol", "/"),
                ("/vol/a b", "/vol/a b"),
                ("/vol/a b/spool", "/vol/a b"),
                ("/vol/a bc", "/"),
                ("/run/x", "/run"),
                ("/bind/x", "/bind"),
                ("/srv/logs", "/"),
                ("/hidden/below/x", "/hidden"),
                ("/auto", "/"),
                ("/asked/x", "/asked"),
                ("/asked/more/x", "/asked/more"),
            ] {
                assert_eq!(mount_point(&mounts, Path::new(path)), Path::new(expected), "{path}");
            }
        }

        #[test]
        fn below_a_root_that_is_no_mount_the_rest_is_found() {
            let mounts = parse(b"40 21 0:5 / /vol rw - tmpfs tmpfs rw\nnonsense\n");
            assert_eq!(mount_point(&mounts, Path::new("/vol/x")), Path::new("/vol"));
            assert_eq!(mount_point(&mounts, Path::new("/x")), Path::new("/"));
        }
    }
}
