//! The parts of an endpoint's URL, for the transports that are not HTTP. No error repeats the URL.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
#[cfg(unix)]
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use crate::config::values::Origin;

/// The characters of a path that are encoded in the text of its origin.
#[cfg(unix)]
const IN_PATHS: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The host and the port of `SCHEME://HOST:PORT`; `None` if there is anything else.
pub(super) fn host_and_port(url: &str) -> Option<(String, u16)> {
    let (_, authority) = url.trim().split_once("://")?;
    let (host, port) = authority.strip_suffix('/').unwrap_or(authority).rsplit_once(':')?;
    let (inner, is_ipv6) = match host.strip_prefix('[') {
        Some(host) => (host.strip_suffix(']')?, true),
        None => (host, false),
    };
    let is_part = |c: char| c.is_alphanumeric() || "-._".contains(c) || (is_ipv6 && ":%".contains(c));
    let port = port.parse().ok().filter(|port| *port != 0)?;
    (!inner.is_empty() && inner.chars().all(is_part)).then(|| (inner.to_owned(), port))
}

/// Scheme, host and port of `SCHEME://HOST:PORT`.
pub(super) fn host_origin(url: &str) -> Option<Origin> {
    let (host, port) = host_and_port(url)?;
    let (scheme, _) = url.trim().split_once(':')?;
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    Some(Origin::new(format!("{scheme}://{host}:{port}").to_lowercase()))
}

/// Scheme and path of `SCHEME:///PATH` or `SCHEME:/PATH`.
#[cfg(unix)]
pub(super) fn path_origin(url: &str) -> Option<Origin> {
    let (path, _) = path_and_query(url)?;
    let (scheme, _) = url.trim().split_once(':')?;
    let path = percent_encode(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()), IN_PATHS);
    Some(Origin::new(format!("{}://{path}", scheme.to_lowercase())))
}

/// The path of `SCHEME:///PATH` or `SCHEME:/PATH`, decoded, and the query; `None` if there is a host or a fragment.
pub(crate) fn path_and_query(url: &str) -> Option<(PathBuf, Option<&str>)> {
    let (_, rest) = url.trim().split_once(':')?;
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    let path = path.strip_prefix("localhost").unwrap_or(path);
    if rest.contains('#') || !path.starts_with('/') {
        return None;
    }
    let bytes: Vec<u8> = percent_decode_str(path).collect();
    (!bytes.contains(&0)).then(|| os_path(bytes)).flatten().map(|path| (path, query))
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere a path has to be text")]
fn os_path(bytes: Vec<u8>) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;

    Some(std::ffi::OsString::from_vec(bytes).into())
}

/// A path with a drive stands behind a slash in a URL.
#[cfg(not(unix))]
fn os_path(bytes: Vec<u8>) -> Option<PathBuf> {
    let path = String::from_utf8(bytes).ok()?;
    let has_drive = path.as_bytes().get(2) == Some(&b':');
    Some(path[usize::from(has_drive)..].into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_a_port_are_all_that_a_socket_has() {
        let host = |host: &str, port| Some((host.to_owned(), port));
        for (url, expected) in [
            ("tcp://localhost:9020", host("localhost", 9020)),
            (" udp://10.0.0.1:514/ ", host("10.0.0.1", 514)),
            ("tcp://[::1]:9020", host("::1", 9020)),
            ("tcp://localhost", None),
            ("tcp://:9020", None),
            ("tcp://localhost:0", None),
            ("tcp://localhost:65536", None),
            ("tcp://me:s3cret@localhost:9020", None),
            ("tcp://localhost:9020/path", None),
            ("tcp://::1:9020", None),
        ] {
            assert_eq!(host_and_port(url), expected, "{url}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_path_is_decoded_and_has_no_host() {
        for (url, expected) in [
            ("file:///var/log/app.log", Some(("/var/log/app.log", None))),
            ("file://localhost/app.log", Some(("/app.log", None))),
            ("file:///a%20b%23.log?max_bytes=1", Some(("/a b#.log", Some("max_bytes=1")))),
            ("unix:/run/log.sock", Some(("/run/log.sock", None))),
            ("unix:///run/log.sock", Some(("/run/log.sock", None))),
            ("file:///logs/", Some(("/logs/", None))),
            ("file://host/app.log", None),
            ("file:app.log", None),
            ("file:///app.log#1", None),
            ("file:///a%00b", None),
        ] {
            assert_eq!(path_and_query(url), expected.map(|(path, query)| (path.into(), query)), "{url}");
        }
    }
}
