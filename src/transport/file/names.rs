//! [`Names`]: which file in a directory a partition has. Keys come from other processes, so a name is checked, and the number of
//! files is limited.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use super::options::Rotation;

/// The file of partitions that have none of their own.
pub(super) const DEFAULT: &str = "default.log";

/// The most files of a directory, besides the default one and backups.
const MAX_FILES: usize = 256;

/// The longest name.
const MAX_NAME_BYTES: usize = 100;

/// The files of a directory.
#[derive(Debug)]
pub(super) struct Names {
    known: HashSet<String>,
    has_backups: bool,
}

impl Names {
    /// Those that are in the directory.
    pub(super) fn read(dir: &Path, rotation: Rotation) -> io::Result<Self> {
        let mut names = Self { known: HashSet::new(), has_backups: rotation.backups > 0 };
        for entry in std::fs::read_dir(dir)? {
            let name = entry?.file_name();
            if let Some(name) = name.to_str().filter(|name| names.is_allowed(name) && *name != DEFAULT) {
                names.known.insert(name.to_owned());
            }
        }
        Ok(names)
    }

    /// The file of a partition.
    pub(super) fn of<'a>(&mut self, key: &'a str) -> &'a str {
        if !self.is_allowed(key) {
            return DEFAULT;
        }
        if key != DEFAULT && !self.known.contains(key) {
            if self.known.len() >= MAX_FILES {
                return DEFAULT;
            }
            self.known.insert(key.to_owned());
        }
        key
    }

    /// Whether a key is the name of a file, and not that of a backup of another.
    fn is_allowed(&self, key: &str) -> bool {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        (1..=MAX_NAME_BYTES).contains(&key.len())
            && !key.starts_with('.')
            && key.bytes().all(is_part)
            && !(self.has_backups && is_backup(key))
    }
}

/// Whether a name ends in a dot and a number, as the names of backups do.
fn is_backup(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, end)| !end.is_empty() && end.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path, backups: u32) -> Names {
        Names::read(dir, Rotation { max_bytes: 1, backups }).unwrap()
    }

    #[test]
    fn a_key_that_is_a_plain_name_is_that_of_a_file_and_others_share_the_default_one() {
        let dir = tempfile::tempdir().unwrap();
        let long = "a".repeat(101);
        for (key, backups, is_name) in [
            ("app.log", 1, true),
            ("A-1_b.c", 1, true),
            ("app.log.10", 0, true),
            ("app.log.10", 1, false),
            ("default.log", 1, true),
            (&long[..100], 1, true),
            (&long, 1, false),
            ("", 1, false),
            (".hidden", 1, false),
            ("..", 1, false),
            ("../app.log", 1, false),
            ("/app.log", 1, false),
            ("a\\b", 1, false),
            ("a b", 1, false),
            ("ä", 1, false),
            ("a\0", 1, false),
        ] {
            assert_eq!(names(dir.path(), backups).of(key) == key, is_name, "{key:?} {backups}");
        }
    }

    #[test]
    fn a_directory_has_no_more_than_256_files_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["of-before.log", "of-before.log.1", DEFAULT, ".hidden"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let mut names = names(dir.path(), 1);
        let keys: Vec<_> = (0..300).map(|number| format!("{number}.log")).collect();
        let own = keys.iter().filter(|key| names.of(key) == **key).count();
        assert_eq!(own, 255);
        for (key, name) in [("of-before.log", "of-before.log"), ("0.log", "0.log"), ("299.log", DEFAULT)] {
            assert_eq!(names.of(key), name);
        }
    }
}
