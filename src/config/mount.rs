//! Whether a directory lies on a volume that is mounted.
//!
//! A service that starts while its volume is away would spool under the mount point: on the wrong disk, and hidden as soon as the
//! volume is back.

#[cfg(unix)]
use std::io;
use std::path::Path;
#[cfg(unix)]
use std::path::PathBuf;

#[cfg(unix)]
use crate::spool::Mount;

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
#[cfg(unix)]
fn mounted_at(path: &Path) -> io::Result<PathBuf> {
    Mount::of(path).map_or_else(|| by_device(path), |mount| Ok(mount.point))
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
