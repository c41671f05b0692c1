//! [`Options`]: what a file's URL says.

use std::path::PathBuf;

use crate::config::values::{Sourced, bytes};
use crate::error::ExporterBuildError;
use crate::transport::url;

/// The most backups, each of which takes a look at every rotation.
const MAX_BACKUPS: u32 = 10_000;

/// When a file is rotated. Never if either number is 0, as in Python.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rotation {
    /// The bytes that a file stays below, unless it has a single record. Default: 0.
    pub(super) max_bytes: u64,
    /// The number of older files that are kept. Default: 0.
    pub(super) backups: u32,
}

impl Rotation {
    /// Whether a file is ever rotated.
    pub(super) fn is_on(&self) -> bool {
        self.max_bytes > 0 && self.backups > 0
    }

    /// Whether a file is rotated before a record, by the rule of Python 3.13: it counts the bytes of the file and the characters
    /// of the record, and `end`, what stands behind it.
    pub(super) fn is_due(&self, file_bytes: u64, record: &[u8], end: &[u8]) -> bool {
        let on = self.is_on() && file_bytes > 0;
        let chars = |text: &[u8]| text.iter().filter(|byte| (**byte & 0xc0) != 0x80).count() as u64;
        on && file_bytes + chars(record) + end.len() as u64 >= self.max_bytes
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) path: PathBuf,
    /// The path is that of a directory, in which each partition has a file.
    pub(super) is_directory: bool,
    pub(super) rotation: Rotation,
}

impl Options {
    /// Reads the URL.
    ///
    /// # Errors
    ///
    /// If there is anything in it that is not allowed.
    pub(super) fn of(endpoint: &Sourced<String>) -> Result<Self, ExporterBuildError> {
        let Some((path, query)) = url::path_and_query(&endpoint.value) else {
            return Err(endpoint.invalid(
                "a file is file:///path, without a host, and a directory with a file for each partition file:///path/; \
                 a # in it is written %23",
            ));
        };
        let mut rotation = Rotation::default();
        let (mut has_max_bytes, mut has_backups) = (false, false);
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match &*name {
                "max_bytes" => {
                    rotation.max_bytes = bytes(&value).ok_or_else(|| {
                        endpoint.invalid(
                            "its max_bytes is no size; allowed are bytes such as 1048576, 64KiB, 10MiB or 1GiB",
                        )
                    })?;
                    has_max_bytes = true;
                }
                "backups" => {
                    rotation.backups =
                        value.parse().ok().filter(|backups| *backups <= MAX_BACKUPS).ok_or_else(|| {
                            endpoint
                                .invalid(format!("its backups is no number of files; allowed are 0 to {MAX_BACKUPS}"))
                        })?;
                    has_backups = true;
                }
                _ => {
                    return Err(endpoint.invalid(format!(
                        "a file has no parameter {:?}; allowed are max_bytes and backups",
                        shortened(&name)
                    )));
                }
            }
        }
        if has_max_bytes != has_backups {
            return Err(
                endpoint.invalid("a file is rotated if it has both max_bytes and backups; give both or neither")
            );
        }
        let is_directory = path.as_os_str().as_encoded_bytes().ends_with(b"/");
        Ok(Self { path, is_directory, rotation })
    }
}

/// The start of a name, which may be anything.
fn shortened(name: &str) -> String {
    name.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(url: &str) -> Result<Options, String> {
        Options::of(&Sourced::new(url.to_owned(), "with_endpoint")).map_err(|error| error.to_string())
    }

    #[cfg(unix)]
    #[test]
    fn a_url_says_which_file_and_when_it_is_rotated() {
        for (url, path, is_directory, max_bytes, backups) in [
            ("file:///var/log/app.log", "/var/log/app.log", false, 0, 0),
            ("file:///app.log?max_bytes=10MiB&backups=5", "/app.log", false, 10 << 20, 5),
            ("file:///logs/?backups=1&max_bytes=2000", "/logs/", true, 2_000, 1),
            ("FILE:///app.log?max_bytes=0&backups=0", "/app.log", false, 0, 0),
        ] {
            let rotation = Rotation { max_bytes, backups };
            assert_eq!(options(url), Ok(Options { path: path.into(), is_directory, rotation }), "{url}");
        }
    }

    #[test]
    fn what_is_wrong_in_a_url_is_named_with_what_is_allowed() {
        for (url, expected) in [
            ("file:///a?maxBytes=1", "no parameter \"maxBytes\"; allowed are max_bytes and backups"),
            ("file:///a?max_bytes=1MB&backups=1", "max_bytes is no size; allowed are bytes such as 1048576"),
            ("file:///a?max_bytes=17179869184TiB&backups=1", "max_bytes is no size"),
            ("file:///a?max_bytes=1&backups=10001", "backups is no number of files; allowed are 0 to 10000"),
            ("file:///a?max_bytes=1", "give both or neither"),
            ("file:///a?backups=1", "give both or neither"),
            ("file://host/a", "a file is file:///path, without a host"),
            ("file://", "a file is file:///path, without a host"),
            ("file:///a#b", "a # in it is written %23"),
        ] {
            let error = options(url).unwrap_err();
            assert!(error.contains(expected), "{url}: {error}");
        }
    }

    #[test]
    fn a_file_is_rotated_before_the_record_that_would_fill_it() {
        let of = |max_bytes, backups| Rotation { max_bytes, backups };
        for (rotation, file_bytes, record, end, due) in [
            (of(10, 1), 5, "abc", "\n", false),
            (of(10, 1), 6, "abc", "\n", true),
            (of(10, 1), 6, "abc", "", false),
            (of(10, 1), 0, "longer than the file", "\n", false),
            (of(0, 1), 6, "abc", "\n", false),
            (of(10, 0), 6, "abc", "\n", false),
            // Three characters of two bytes each count as three.
            (of(10, 1), 5, "äöü", "\n", false),
        ] {
            let is_due = rotation.is_due(file_bytes, record.as_bytes(), end.as_bytes());
            assert_eq!(is_due, due, "{rotation:?} {file_bytes} {record:?}");
        }
    }
}
