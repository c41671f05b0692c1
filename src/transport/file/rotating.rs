//! [`RotatingFile`]: a file to which records are appended, and its backups.

use std::fmt;
#[cfg(unix)]
use std::fs::TryLockError;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::lines::{End, Lines};
use super::options::Rotation;

/// The longest frame that is taken for one, as at the listeners of a relay. So a text is never one: its first bytes are too large a length.
const MAX_FRAME_BYTES: u64 = 64 << 20;

/// The head of a frame: its length in four bytes, and the first two of its pickle.
const HEAD_BYTES: usize = 6;

/// The error of a file, in words.
#[derive(Debug)]
pub(super) struct FileError {
    pub(super) reason: String,
    /// It lasts until somebody mends it.
    pub(super) is_lasting: bool,
}

/// The reason why a batch is not in a file, or not all of it.
#[derive(Debug)]
pub(super) struct Unfinished {
    /// How many of its first records are: those in a file that was rotated behind them.
    pub(super) records: usize,
    pub(super) error: FileError,
}

/// A file and its backups.
pub(super) struct RotatingFile {
    path: PathBuf,
    rotation: Rotation,
    open: Option<Open>,
}

/// The file itself. Nobody else writes to it.
struct Open {
    file: File,
    metadata: Metadata,
    len: u64,
    /// Where the last batch begins, or its part that is in this file.
    batch: u64,
    /// What is written before the next record.
    before: &'static [u8],
}

impl RotatingFile {
    pub(super) fn new(path: PathBuf, rotation: Rotation) -> Self {
        Self { path, rotation, open: None }
    }

    /// Appends a batch and syncs it.
    ///
    /// # Errors
    ///
    /// If that fails. What was appended of it is taken back then, but for records in a file that was rotated behind them.
    pub(super) fn append(&mut self, lines: &Lines) -> Result<(), Unfinished> {
        let mut records = 0;
        self.append_from(lines, &mut records).map_err(|error| Unfinished { records, error })
    }

    /// `safe` becomes the number of records that are not taken back.
    fn append_from(&mut self, lines: &Lines, safe: &mut usize) -> Result<(), FileError> {
        let end = lines.end.text();
        let mut open = self.open(lines.end)?;
        open.batch = open.len;
        let mut part = open.before.to_vec();
        for (number, record) in lines.records().enumerate() {
            if self.rotation.is_due(open.len + part.len() as u64, record, end) {
                open.append(&part).map_err(|error| self.error("append to", &self.path, &error))?;
                *safe = number;
                part.clear();
                #[cfg(not(unix))]
                drop(open); // A file cannot be moved while it is open.
                self.rotate()?;
                // The old file stays locked until the new one is.
                open = self.open(lines.end)?;
            }
            part.extend_from_slice(record);
            part.extend_from_slice(end);
        }
        open.append(&part).map_err(|error| self.error("append to", &self.path, &error))?;
        open.before = b"";
        self.open = Some(open);
        Ok(())
    }

    /// Takes the last batch back, of which nobody knows that it is there: it will come again. Records in a file that was rotated
    /// behind them stay.
    pub(super) fn take_back(&mut self) {
        // The next batch opens it again.
        let Some(open) = self.open.take() else { return };
        // A file that somebody else has cut or written to is left alone.
        if open.file.metadata().is_ok_and(|now| now.len() == open.len) {
            let _ = open.file.set_len(open.batch);
        }
    }

    /// The file, which is opened if it is not open, or if another one is at its place by now.
    fn open(&mut self, end: End) -> Result<Open, FileError> {
        if let Some(mut open) = self.open.take()
            && let Ok(now) = fs::symlink_metadata(&self.path)
            && is_same(&now, &open.metadata)
        {
            open.len = now.len();
            return Ok(open);
        }
        let open =
            Open::at(&self.path, end, self.rotation.is_on()).map_err(|error| self.error("open", &self.path, &error))?;
        if let Some(dir) = self.path.parent() {
            // So that the file's name survives a power cut, and with it what the file holds.
            sync_dir(dir).map_err(|error| self.error("sync", dir, &error))?;
        }
        Ok(open)
    }

    /// Moves each backup one place further, and the file to the first. The last one is overwritten.
    fn rotate(&self) -> Result<(), FileError> {
        for number in (0..self.rotation.backups).rev() {
            let (from, to) = (self.backup(number), self.backup(number + 1));
            match fs::rename(&from, &to) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(self.error("rename", &from, &error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// The file itself is its backup 0.
    fn backup(&self, number: u32) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        if number > 0 {
            path.push(format!(".{number}"));
        }
        path.into()
    }

    fn error(&self, action: &str, path: &Path, error: &io::Error) -> FileError {
        let is_lasting = is_link(error)
            || matches!(
                error.kind(),
                ErrorKind::NotFound
                    | ErrorKind::PermissionDenied
                    | ErrorKind::NotADirectory
                    | ErrorKind::IsADirectory
                    | ErrorKind::ReadOnlyFilesystem
                    | ErrorKind::InvalidInput
                    | ErrorKind::InvalidData
            );
        let dir = self.path.parent().filter(|dir| error.kind() == ErrorKind::NotFound && !dir.is_dir());
        let reason = match dir {
            Some(dir) => {
                format!("the directory `{}` does not exist: make it, and let this process write to it", dir.display())
            }
            None if is_link(error) => {
                format!("could not open `{}`: it is a symbolic link, and none is followed", path.display())
            }
            None => format!("could not {action} `{}`: {error}", path.display()),
        };
        FileError { reason, is_lasting }
    }
}

impl Open {
    fn at(path: &Path, end: End, is_rotated: bool) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        secure(&mut options);
        let mut file = options.open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "it is no regular file"));
        }
        if is_rotated {
            lock(&file)?;
            // Who had it locked may have rotated it meanwhile.
            if !fs::symlink_metadata(path).is_ok_and(|now| is_same(&now, &metadata)) {
                return Err(io::Error::new(ErrorKind::WouldBlock, "another exporter or relay has rotated it"));
            }
        }
        let mut len = file.metadata()?.len();
        let mut before: &[u8] = b"";
        // A kill or a power cut can have left the beginning of a record.
        match end {
            End::Line if len > 0 => {
                let mut last = [0];
                file.seek(SeekFrom::End(-1))?;
                file.read_exact(&mut last)?;
                before = if last == *b"\n" { b"" } else { b"\n" };
            }
            End::Frame => {
                let whole = whole_frames(&mut file, len)?;
                if whole < len {
                    if !is_torn_frame(&mut file, whole, len)? {
                        let reason = format!(
                            "what it holds from byte {whole} on is no frame of a pickle; move it away, or choose another file or format"
                        );
                        return Err(io::Error::new(ErrorKind::InvalidData, reason));
                    }
                    file.set_len(whole)?;
                    len = whole;
                }
            }
            End::Line | End::Bare => {}
        }
        Ok(Self { file, metadata, len, batch: len, before })
    }

    /// Appends and syncs; after an error the file is as long as before.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let appended = self.file.write_all(bytes).and_then(|()| self.file.sync_data());
        match &appended {
            Ok(()) => self.len += bytes.len() as u64,
            Err(_) => {
                let _ = self.file.set_len(self.len);
            }
        }
        appended
    }
}

#[cfg(unix)]
impl Drop for Open {
    /// Also of a process that was forked meanwhile, and has the file open.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

impl fmt::Debug for RotatingFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RotatingFile").field(&self.path).finish()
    }
}

/// Keeps others from rotating a file: they would overwrite backups. A system that has no locks has nobody who asks for one.
#[cfg(unix)]
fn lock(file: &File) -> io::Result<()> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(io::Error::new(
            ErrorKind::WouldBlock,
            "another exporter or relay rotates it; give each a file of its own, or let them send to one relay",
        )),
        _ => Ok(()),
    }
}

/// Nobody could read a file that is locked.
#[cfg(not(unix))]
fn lock(_: &File) -> io::Result<()> {
    Ok(())
}

/// Where the last whole frame ends, of those that are pickles.
fn whole_frames(file: &mut File, len: u64) -> io::Result<u64> {
    let mut at = 0;
    while let Some(frame) = frame_at(file, at, len)? {
        if frame > len - at {
            break;
        }
        at += frame;
    }
    Ok(at)
}

/// The length of the frame that begins there, with its head. `None` if none does, or not enough of it is there to tell.
fn frame_at(file: &mut File, at: u64, len: u64) -> io::Result<Option<u64>> {
    let mut head = [0; HEAD_BYTES];
    if len - at < HEAD_BYTES as u64 {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut head)?;
    let [a, b, c, d, first, second] = head;
    let pickle = u64::from(u32::from_be_bytes([a, b, c, d]));
    let is_frame = (2..=MAX_FRAME_BYTES).contains(&pickle) && begins_pickle(first, second);
    Ok(is_frame.then_some(4 + pickle))
}

/// Whether a pickle of a dictionary begins so: in the protocols 0 and 1, or with the number of a later one.
fn begins_pickle(first: u8, second: u8) -> bool {
    matches!((first, second), (b'}', b'(' | b'q' | b'.') | (b'(', b'd') | (0x80, 2..=5))
}

/// Whether what stands behind the last whole frame is the beginning of one, as a kill leaves it, or zeros, as a power cut can. With
/// no whole frame before it, it can be anything of somebody else, so that more of it has to be there.
fn is_torn_frame(file: &mut File, at: u64, len: u64) -> io::Result<bool> {
    if frame_at(file, at, len)?.is_some() {
        return Ok(true);
    }
    let tail = len - at;
    if at == 0 || tail > MAX_FRAME_BYTES + 4 {
        return Ok(false);
    }
    file.seek(SeekFrom::Start(at))?;
    let mut head = Vec::new();
    file.take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    // The length may be cut as well: what is missing counts as zeros.
    let mut length = [0; 4];
    let known = head.len().min(4);
    length[..known].copy_from_slice(&head[..known]);
    let is_cut_head = tail < HEAD_BYTES as u64
        && u64::from(u32::from_be_bytes(length)) <= MAX_FRAME_BYTES
        && head.get(4).is_none_or(|first| [b'}', b'(', 0x80].contains(first));
    Ok(is_cut_head || is_zero(file, at, len)?)
}

fn is_zero(file: &mut File, at: u64, len: u64) -> io::Result<bool> {
    file.seek(SeekFrom::Start(at))?;
    let bytes = io::BufReader::new(file.take(len - at)).bytes();
    for byte in bytes {
        if byte? != 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Only the user of this process can read the file, and nothing else is opened in its place.
#[cfg(unix)]
fn secure(options: &mut OpenOptions) {
    use std::os::unix::fs::OpenOptionsExt;

    use nix::fcntl::OFlag;

    // Without waiting for a reader, where somebody has put a pipe there.
    options.mode(0o600).custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits());
}

#[cfg(not(unix))]
fn secure(_: &mut OpenOptions) {}

#[cfg(unix)]
fn is_link(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::errno::Errno::ELOOP as i32)
}

#[cfg(not(unix))]
fn is_link(_: &io::Error) -> bool {
    false
}

#[cfg(unix)]
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;

    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// A file cannot be moved while it is open.
#[cfg(not(unix))]
fn is_same(_: &Metadata, _: &Metadata) -> bool {
    true
}

#[cfg(unix)]
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(not(unix))]
fn sync_dir(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::request::Request;
    use crate::transport::request::tests::request;

    /// A batch of these records.
    fn lines(records: &[&str]) -> Lines {
        batch("text/plain", records)
    }

    fn batch(content_type: &str, records: &[&str]) -> Lines {
        Lines::of(&request(content_type, ["", "", ""], records)).unwrap()
    }

    struct Setup {
        dir: tempfile::TempDir,
        file: RotatingFile,
    }

    fn setup(max_bytes: u64, backups: u32) -> Setup {
        let dir = tempfile::tempdir().unwrap();
        let file = RotatingFile::new(dir.path().join("app.log"), Rotation { max_bytes, backups });
        Setup { dir, file }
    }

    impl Setup {
        fn append(&mut self, records: &[&str]) {
            self.file.append(&lines(records)).unwrap();
        }

        /// The contents of the file and its backups.
        fn contents(&self) -> Vec<String> {
            (0..).map_while(|number| fs::read_to_string(self.file.backup(number)).ok()).collect()
        }

        /// As if the process had been started again.
        fn restart(&mut self) {
            self.file.open = None;
        }
    }

    #[test]
    fn records_are_appended_each_with_its_end() {
        let mut setup = setup(0, 0);
        setup.append(&["one", "two\n  with a trace"]);
        setup.restart();
        setup.append(&["three\n"]);
        assert_eq!(setup.contents(), ["one\ntwo\n  with a trace\nthree\n\n"]);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(setup.dir.path().join("app.log")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_full_file_is_moved_to_its_backups_between_two_records() {
        let mut setup = setup(10, 2);
        setup.append(&["1234", "1234", "5\n6", "a very long record", "7"]);
        assert_eq!(setup.contents(), ["7\n", "a very long record\n", "1234\n5\n6\n"]);
        setup.append(&["12345678"]);
        assert_eq!(setup.contents(), ["12345678\n", "7\n", "a very long record\n"]);
    }

    #[test]
    fn a_backup_that_is_missing_stays_so_until_one_is_moved_there() {
        let mut setup = setup(4, 3);
        setup.append(&["111", "222", "333"]);
        fs::remove_file(setup.file.backup(1)).unwrap();
        setup.append(&["444"]);
        let exists: Vec<_> = (0..=3).map(|number| setup.file.backup(number).exists()).collect();
        assert_eq!(exists, [true, true, false, true]);
    }

    #[test]
    fn the_beginning_of_a_record_that_a_crash_left_is_ended() {
        let mut setup = setup(0, 0);
        fs::write(setup.dir.path().join("app.log"), "whole\nto").unwrap();
        setup.append(&["next"]);
        setup.append(&["other"]);
        assert_eq!(setup.contents(), ["whole\nto\nnext\nother\n"]);
    }

    const FRAME: &[u8] = b"\0\0\0\x03}(u";

    /// A file with these bytes, to which a frame is then appended.
    fn append_frame(setup: &mut Setup, before: &[u8]) -> (Result<(), Unfinished>, Vec<u8>) {
        let path = setup.dir.path().join("app.log");
        fs::write(&path, before).unwrap();
        let request = Request { body: FRAME.into(), ..request("application/x-python-pickle", [""; 3], &["7 bytes"]) };
        let appended = setup.file.append(&Lines::of(&request).unwrap());
        (appended, fs::read(&path).unwrap())
    }

    #[test]
    fn the_beginning_of_a_frame_that_a_crash_left_is_taken_away() {
        let torn: [&[u8]; 8] = [
            b"",
            b"\0",
            b"\0\0\0",
            b"\0\0\0\x05",
            b"\0\0\0\x05}",
            &FRAME[..6],
            b"\x03\xff\xff\xff\x80\x04...",
            &[0; 1_000],
        ];
        for torn in torn {
            let mut setup = setup(0, 0);
            let (appended, now) = append_frame(&mut setup, &[FRAME, torn].concat());
            appended.unwrap();
            assert_eq!(now, [FRAME, FRAME].concat(), "{:?}", torn.get(..8).unwrap_or(torn));
        }
        let (appended, now) = append_frame(&mut setup(0, 0), &FRAME[..6]);
        appended.unwrap();
        assert_eq!(now, FRAME, "the first frame");
    }

    #[test]
    fn frames_of_every_encoder_are_known_by_their_first_bytes() {
        for pickle in [&b"}(u."[..], b"}q\0.", b"}.", b"(dp0\n.", b"\x80\x02}.", b"\x80\x04\x95"] {
            let frame = [&u32::try_from(pickle.len()).unwrap().to_be_bytes(), pickle].concat();
            let (appended, now) = append_frame(&mut setup(0, 0), &frame);
            appended.unwrap();
            assert_eq!(now, [&frame, FRAME].concat(), "{pickle:?}");
        }
    }

    #[test]
    fn a_file_that_holds_no_frames_is_left_as_it_is_and_an_error_says_so() {
        let text = b"2026-11-28 INFO a line of another program\n".repeat(500);
        let [behind_frame, short, no_pickle] =
            [&b"a line\n"[..], b"ab", b"\0\0\0\x02abc"].map(|tail| [FRAME, tail].concat());
        for (before, at) in
            [(&text[..], 0), (b"\0", 0), (&[0; 100], 0), (&behind_frame, 7), (&short, 7), (&no_pickle, 7)]
        {
            let (appended, now) = append_frame(&mut setup(0, 0), before);
            let FileError { reason, is_lasting } = appended.unwrap_err().error;
            let expected = format!("from byte {at} on is no frame of a pickle; move it away");
            assert!(is_lasting && reason.contains(&expected), "{reason}");
            assert!(now == before, "{reason}");
        }
    }

    #[test]
    fn a_batch_that_nobody_waits_for_any_more_is_taken_back() {
        let mut setup = setup(0, 0);
        let path = setup.dir.path().join("app.log");
        fs::write(&path, "torn").unwrap();
        for _ in 0..2 {
            setup.append(&["one", "two"]);
            setup.file.take_back();
            assert_eq!(setup.contents(), ["torn"]);
            // There is nothing more.
            setup.file.take_back();
        }
        setup.append(&["one"]);
        setup.append(&["two"]);
        setup.file.take_back();
        assert_eq!(setup.contents(), ["torn\none\n"]);
        setup.append(&["two"]);
        fs::write(&path, "of somebody else").unwrap();
        setup.file.take_back();
        assert_eq!(setup.contents(), ["of somebody else"]);
    }

    #[test]
    fn a_batch_that_is_taken_back_leaves_what_was_rotated_behind_it() {
        let mut setup = setup(8, 2);
        setup.append(&["zero"]);
        setup.append(&["one", "two"]);
        setup.file.take_back();
        assert_eq!(setup.contents(), ["", "one\n", "zero\n"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_somebody_else_moves_is_made_again() {
        let mut setup = setup(0, 0);
        setup.append(&["one"]);
        let moved = setup.dir.path().join("moved");
        let path = setup.dir.path().join("app.log");
        fs::rename(&path, &moved).unwrap();
        setup.append(&["two"]);
        // As `logrotate` does with its option `create`.
        fs::rename(&path, setup.dir.path().join("moved again")).unwrap();
        fs::write(&path, "").unwrap();
        setup.append(&["three"]);
        assert_eq!(
            (setup.contents(), fs::read_to_string(moved).unwrap()),
            (vec!["three\n".to_owned()], "one\n".to_owned())
        );
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_of_its_own_is_an_error_that_lasts_and_says_what_it_is() {
        use std::os::unix::fs::symlink;

        type Make = fn(&Path);
        let cases: [(Make, &str); 4] = [
            (|path| symlink("/etc/hostname", path).unwrap(), "it is a symbolic link, and none is followed"),
            (|path| fs::create_dir(path).unwrap(), "Is a directory"),
            (|path| drop(std::os::unix::net::UnixListener::bind(path).unwrap()), "could not open"),
            (|path| fs::remove_dir(path.parent().unwrap()).unwrap(), "does not exist: make it"),
        ];
        for (make, expected) in cases {
            let mut setup = setup(0, 0);
            make(&setup.dir.path().join("app.log"));
            let unfinished = setup.file.append(&lines(&["record"])).unwrap_err();
            let FileError { reason, is_lasting } = &unfinished.error;
            assert!(reason.contains(expected), "{reason}");
            assert_eq!((unfinished.records, *is_lasting || expected == "could not open"), (0, true), "{reason}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_disk_that_is_full_is_an_error_that_may_go_by_itself() {
        let mut setup = setup(0, 0);
        setup.append(&["one"]);
        let full = OpenOptions::new().append(true).open("/dev/full").unwrap();
        setup.file.open.as_mut().unwrap().file = full;
        let unfinished = setup.file.append(&lines(&["two"])).unwrap_err();
        let FileError { reason, is_lasting } = &unfinished.error;
        assert!(!is_lasting && reason.contains("app.log") && reason.contains("No space left"), "{reason}");
        setup.append(&["two"]);
        assert_eq!(setup.contents(), ["one\ntwo\n"]);
    }

    #[cfg(unix)]
    #[test]
    fn an_error_after_a_rotation_says_how_many_records_are_safe() {
        let mut setup = setup(8, 1);
        // The second file cannot be opened: there is no room for the rotation's last step.
        let backup = setup.file.backup(1);
        fs::create_dir(&backup).unwrap();
        fs::write(backup.join("in it"), "").unwrap();
        let unfinished = setup.file.append(&lines(&["one", "two", "three"])).unwrap_err();
        assert_eq!((unfinished.records, setup.contents()), (1, vec!["one\n".to_owned()]));
        assert!(unfinished.error.reason.starts_with("could not rename"), "{}", unfinished.error.reason);
        fs::remove_dir_all(&backup).unwrap();
        setup.append(&["two", "three"]);
        assert_eq!(setup.contents(), ["three\n", "two\n"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_is_rotated_by_one_writer_and_others_are_told_so() {
        let mut setup = setup(8, 2);
        let mut other = RotatingFile::new(setup.dir.path().join("app.log"), Rotation { max_bytes: 8, backups: 2 });
        setup.append(&["one"]);
        for records in [&["two"][..], &["three", "four"]] {
            let FileError { reason, is_lasting } = other.append(&lines(&["other"])).unwrap_err().error;
            assert!(!is_lasting && reason.contains("another exporter or relay rotates it"), "{reason}");
            setup.append(records);
        }
        assert_eq!(setup.contents(), ["four\n", "three\n", "two\n"]);
        setup.restart();
        other.append(&lines(&["other"])).unwrap();
        assert_eq!(setup.contents(), ["other\n", "four\n", "three\n"]);
    }

    #[test]
    fn a_file_that_is_not_rotated_may_have_several_writers() {
        let mut setup = setup(0, 0);
        let mut other = RotatingFile::new(setup.dir.path().join("app.log"), Rotation::default());
        setup.append(&["one"]);
        other.append(&lines(&["two"])).unwrap();
        assert_eq!(setup.contents(), ["one\ntwo\n"]);
    }
}
