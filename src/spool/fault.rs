//! The errors of a disk that gives no file: whether the file is damaged, or somebody can mend it. It touches nothing.

use std::io;

use crate::error::SpoolError;

/// Error numbers that say of a file, or of the disk below it, that it is damaged: an I/O error, bad checksums, and structures of
/// the file system that need cleaning.
const DAMAGE: &[i32] = if cfg!(target_os = "linux") {
    // EIO, EBADMSG, EUCLEAN
    &[5, 74, 117]
} else if cfg!(unix) {
    // EIO
    &[5]
} else {
    // ERROR_CRC, ERROR_IO_DEVICE, ERROR_FILE_CORRUPT, ERROR_DISK_CORRUPT
    &[23, 1117, 1392, 1393]
};

/// Whether an error that lasts says that what is read is damaged. All others (of permissions, of descriptors and memory that
/// are used up, of disks that are away) end when somebody does something about them.
pub(super) fn is_damage(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|number| DAMAGE.contains(&number))
}

/// The same of an error of the spool.
pub(super) fn says_damaged(error: &SpoolError) -> bool {
    matches!(error, SpoolError::Io { source, .. } if is_damage(source))
}
