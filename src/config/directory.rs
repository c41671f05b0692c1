//! Whether a spool may lie in a directory, as far as that is seen from outside. It looks at the file system and changes nothing.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::config::values::{Sourced, Warning};
use crate::error::{ExporterBuildError, SpoolError, error_chain};

/// Checks that a spool can be in a directory, which need not be there yet.
///
/// # Errors
///
/// If it is nameless or a symbolic link, or if there is a file in its place or on the way to it.
pub(crate) fn check(dir: &Sourced<PathBuf>) -> Result<(), ExporterBuildError> {
    let path = &*dir.value;
    if path.as_os_str().is_empty() {
        return Err(dir.invalid("it is empty; give a directory, such as /var/lib/NAME/spool"));
    }
    if fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink()) {
        let end = path.canonicalize().map_or_else(|_| "itself".to_owned(), |end| format!("`{}`", end.display()));
        return Err(dir.invalid(format!(
            "`{}` is a symbolic link, which could be made to lead anywhere; give the directory {end}",
            path.display()
        )));
    }
    match there(path) {
        Some((found, meta)) if !meta.is_dir() => {
            Err(dir.invalid(format!("`{}` is a file; give a directory, such as /var/lib/NAME/spool", found.display())))
        }
        _ => Ok(()),
    }
}

/// The nearest path upwards that is there.
fn there(path: &Path) -> Option<(&Path, fs::Metadata)> {
    path.ancestors().find_map(|above| {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        Some((above, fs::metadata(above).ok()?))
    })
}

/// Notices what a directory is probably not meant for, and a disk that is smaller than what is to stay free on it.
pub(crate) fn warnings(dir: &Sourced<PathBuf>, min_free_bytes: Option<&Sourced<u64>>) -> Vec<Warning> {
    let path = &*dir.value;
    let relative = path.is_relative().then(|| {
        let here = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        dir.warning(format!(
            "`{}` is relative: it is `{}` now, and another one if the process starts elsewhere; give an absolute path",
            path.display(),
            here.display()
        ))
    });
    let foreign = stranger(path).map(|name| {
        dir.warning(format!(
            "`{}` is no spool yet and has other files, such as `{name}`; give a directory of its own",
            path.display()
        ))
    });
    let beyond = min_free_bytes.and_then(|min_free| {
        let total = fs2::total_space(there(path)?.0).ok().filter(|total| *total <= min_free.value)?;
        Some(min_free.warning(format!(
            "{} bytes are to stay free, and the whole disk of `{}` has {total}: no record is stored; give less",
            min_free.value,
            path.display()
        )))
    });
    relative.into_iter().chain(foreign).chain(beyond).collect()
}

/// A file in a directory that is no spool: its name.
fn stranger(dir: &Path) -> Option<String> {
    if dir.join("format").exists() {
        return None;
    }
    let names = fs::read_dir(dir).ok()?.flatten().map(|found| found.file_name().to_string_lossy().into_owned());
    // The root of a volume, and a format that another process is just writing.
    names.into_iter().find(|name| name != "lost+found" && !name.starts_with("format"))
}

/// Checks that this process may make a spool in a directory, or use the one that is there. Returns words for the directory, and a
/// warning if a directory in it is somebody else's, whose queue this process will not deliver. It asks the system and tries nothing.
///
/// # Errors
///
/// If it may not: the directory or the nearest one above belongs to somebody else, or the disk is mounted read-only.
pub(crate) fn check_access(dir: &Sourced<PathBuf>) -> Result<(String, Option<String>), ExporterBuildError> {
    let path = &*dir.value;
    let Some((found, _)) = there(path) else {
        return Err(dir.invalid(format!("`{}` cannot be looked up; give another directory", path.display())));
    };
    let refused = |used: &Path| {
        let error = may_change(used).err()?;
        Some(format!("`{}` may not be changed: {error}; {}", used.display(), owner(used).unwrap_or_default()))
    };
    if let Some(why) = refused(found) {
        return Err(dir.invalid(format!("{why}give a directory that this process may write to")));
    }
    let below = fs::read_dir(path).into_iter().flatten().flatten().map(|found| found.path());
    let mut below = below.filter(|found| found.is_dir() && found.file_name().is_none_or(|name| name != "lost+found"));
    let theirs = below.find_map(|found| refused(&found));
    let shown = path.display();
    let text = if found == path {
        format!("`{shown}` is there")
    } else {
        format!("`{shown}` is made in `{}`", found.display())
    };
    Ok((text, theirs.map(|why| format!("{why}what is in it is not delivered by this process"))))
}

/// Whether files can be made and deleted in a directory, by the rights of this process.
#[cfg(all(unix, feature = "relay", not(target_os = "redox")))]
fn may_change(dir: &Path) -> std::io::Result<()> {
    use nix::fcntl::{AT_FDCWD, AtFlags};
    use nix::unistd::{AccessFlags, faccessat};

    let rights = AccessFlags::R_OK | AccessFlags::W_OK | AccessFlags::X_OK;
    // Android has no such flag, and no programs that change their user.
    #[cfg(target_os = "android")]
    let flags = AtFlags::empty();
    #[cfg(not(target_os = "android"))]
    let flags = AtFlags::AT_EACCESS;
    Ok(faccessat(AT_FDCWD, dir, rights, flags)?)
}

/// The same as far as the standard library can tell.
#[cfg(not(all(unix, feature = "relay", not(target_os = "redox"))))]
fn may_change(dir: &Path) -> std::io::Result<()> {
    fs::read_dir(dir).map(drop)
}

/// Notices that a directory is another user's where this process may do anything: what holds for it does not hold for the owner, and what
/// it makes, the owner cannot use.
pub(crate) fn other_owner(dir: &Path) -> Option<String> {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::MetadataExt;

        let (own, of_dir) = (fs::metadata("/proc/self").ok()?.uid(), fs::metadata(dir).ok()?.uid());
        (own == 0 && of_dir != own).then(|| {
            format!(
                "`{}` belongs to user {of_dir}, and this process runs as user 0, who may do anything",
                dir.display()
            )
        })
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = dir;
        None
    }
}

/// The bytes that are free for this process on the disk of a directory, which need not be there yet.
pub(crate) fn free_bytes(dir: &Path) -> Option<u64> {
    fs2::available_space(there(dir)?.0).ok()
}

/// The error of a spool that could not be opened, which is one of the directory's if the process may not write there.
pub(crate) fn refused(error: ExporterBuildError, dir: &Sourced<PathBuf>) -> ExporterBuildError {
    let ExporterBuildError::Spool(spool @ SpoolError::Io { path, source, .. }) = &error else { return error };
    let why = match source.kind() {
        ErrorKind::PermissionDenied => owner(path).unwrap_or_default(),
        ErrorKind::ReadOnlyFilesystem => String::new(),
        _ => return error,
    };
    dir.invalid(format!("{}; {why}give a directory that this process may write to", error_chain(spool)))
}

/// Says whose the nearest directory is.
#[cfg(unix)]
fn owner(path: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;

    let (found, meta) = there(path)?;
    // Only Linux tells it without a call that is not safe.
    let own = fs::metadata("/proc/self").ok().filter(|_| cfg!(target_os = "linux"));
    let own = own.map(|own| format!(", and this process runs as user {}", own.uid())).unwrap_or_default();
    Some(format!("`{}` belongs to user {} with mode {:o}{own}; ", found.display(), meta.uid(), meta.mode() & 0o7777))
}

#[cfg(not(unix))]
fn owner(_path: &Path) -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn given(path: impl Into<PathBuf>) -> Sourced<PathBuf> {
        Sourced::new(path.into(), "with_spool_dir")
    }

    fn error(path: impl Into<PathBuf>) -> String {
        check(&given(path)).unwrap_err().to_string()
    }

    #[test]
    fn a_spool_lies_in_a_directory_and_in_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "").unwrap();
        for path in [dir.path().to_owned(), dir.path().join("new"), dir.path().join("new/below"), "spool".into()] {
            assert!(check(&given(&path)).is_ok(), "{}", path.display());
        }
        for path in [file.clone(), file.join("below/it")] {
            let expected = format!(
                "`with_spool_dir` is invalid: `{}` is a file; give a directory, such as /var/lib/NAME/spool",
                file.display()
            );
            assert_eq!(error(path), expected);
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(dir.path(), &link).unwrap();
            let end = dir.path().canonicalize().unwrap();
            assert!(error(&link).ends_with(&format!("give the directory `{}`", end.display())), "{}", error(&link));
        }
        #[cfg(not(unix))]
        drop(link);
    }

    #[test]
    fn a_directory_with_other_files_is_noticed_until_it_is_a_spool() {
        let dir = tempfile::tempdir().unwrap();
        let noticed =
            || warnings(&given(dir.path()), None).into_iter().map(|warning| warning.reason).collect::<Vec<_>>();
        fs::create_dir(dir.path().join("lost+found")).unwrap();
        fs::write(dir.path().join("format.0123abcd"), "").unwrap();
        assert_eq!(noticed(), Vec::<String>::new());
        fs::write(dir.path().join("photo.jpg"), "").unwrap();
        let expected = "is no spool yet and has other files, such as `photo.jpg`; give a directory of its own";
        assert!(noticed()[0].ends_with(expected), "{:?}", noticed());
        fs::write(dir.path().join("format"), "").unwrap();
        assert_eq!(noticed(), Vec::<String>::new());
    }

    #[test]
    fn a_disk_that_is_smaller_than_what_stays_free_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let noticed =
            |bytes| warnings(&given(dir.path().join("new")), Some(&Sourced::new(bytes, "with_min_free_bytes")));
        assert_eq!(noticed(1), []);
        let warning = noticed(u64::MAX).pop().unwrap();
        assert_eq!(warning.setting, "with_min_free_bytes");
        assert!(warning.reason.starts_with("18446744073709551615 bytes are to stay free, and the whole disk of"));
    }

    #[test]
    fn a_directory_that_refuses_is_named_with_its_owner_and_other_errors_stay_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let open = |kind: ErrorKind| {
            let source = io::Error::from(kind);
            let error = SpoolError::Io { action: "create", path: dir.path().join("spool"), source };
            refused(error.into(), &given(dir.path().join("spool")))
        };
        let error = open(ErrorKind::PermissionDenied).to_string();
        assert!(
            error.starts_with("`with_spool_dir` is invalid: could not create `") && error.contains("permission denied")
        );
        assert!(cfg!(not(unix)) || error.contains(&format!("`{}` belongs to user ", dir.path().display())), "{error}");
        assert!(error.ends_with("; give a directory that this process may write to"), "{error}");
        assert!(matches!(open(ErrorKind::StorageFull), ExporterBuildError::Spool(_)));
    }
}
