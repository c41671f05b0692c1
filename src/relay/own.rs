//! [`check_own`]: an endpoint is not the relay itself.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::path::{Path, PathBuf};

use crate::config::values::{DEFAULT_SOURCE, Signal, Sourced};
use crate::error::ExporterBuildError;
use crate::relay::listener::Listener;
use crate::transport::url::path_and_query;

/// A relay that sends to itself would go in a circle.
///
/// # Errors
///
/// If one of these listeners is the endpoint of a signal.
pub(crate) fn check_own<'a>(
    signal: Signal,
    endpoint: &Sourced<String>,
    mut listeners: impl Iterator<Item = &'a Listener> + Clone,
) -> Result<(), ExporterBuildError> {
    let own = match path(&endpoint.value) {
        Some(path) => listeners.find(|listener| has_path(listener, &path)),
        None => at_address(&endpoint.value, listeners),
    };
    let Some(listener) = own else { return Ok(()) };
    let itself = format!("it is the relay itself, which listens on {listener}");
    if endpoint.source == DEFAULT_SOURCE {
        // Nothing has set it, so the remedy is to do so.
        let variable = signal.endpoint_variable();
        let reason = format!("{}: {itself}; set {variable}, or in a file `endpoint`", endpoint.value);
        return Err(Sourced::new((), format!("the default endpoint of {signal}")).invalid(reason));
    }
    Err(endpoint.invalid(format!("{signal} would go there, and {itself}")))
}

/// The path of `unix:/path` or `unix:///path`.
fn path(endpoint: &str) -> Option<PathBuf> {
    let (scheme, _) = endpoint.trim().split_once(':')?;
    let (path, _) = path_and_query(endpoint).filter(|_| scheme.eq_ignore_ascii_case("unix"))?;
    Some(path)
}

fn has_path(listener: &Listener, path: &Path) -> bool {
    let Some(own) = listener.path() else { return false };
    let canonical = |path: &Path| std::fs::canonicalize(path).ok();
    own == path || canonical(own).is_some_and(|own| canonical(path) == Some(own))
}

/// The host and the port of a URL.
fn host_and_port(endpoint: &str) -> Option<(&str, u16)> {
    let (scheme, rest) = endpoint.trim().split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let default_port = if scheme.eq_ignore_ascii_case("https") { 443 } else { 80 };
    Some(match authority.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => (host, port.parse().unwrap_or(default_port)),
        _ => (authority, default_port),
    })
}

fn at_address<'a>(endpoint: &str, mut listeners: impl Iterator<Item = &'a Listener> + Clone) -> Option<&'a Listener> {
    let (host, port) = host_and_port(endpoint)?;
    // Names are asked for only if it may matter.
    let has_port = |listener: &&Listener| listener.address().is_some_and(|own| own.port() == port);
    listeners.clone().find(has_port)?;
    let addresses: Vec<_> = (host.trim_matches(['[', ']']), port).to_socket_addrs().ok()?.collect();
    listeners
        .find(|listener| listener.address().is_some_and(|own| addresses.iter().any(|address| leads_to(*address, own))))
}

/// Whether who connects to an address comes to a socket that is bound to `own`.
fn leads_to(address: SocketAddr, own: SocketAddr) -> bool {
    let reaches = |ip: IpAddr| own.ip() == ip || (own.ip().is_unspecified() && is_of_this_host(ip));
    own.port() == address.port() && (reaches(address.ip()) || reaches(address.ip().to_canonical()))
}

/// Whether an address is one of this host: a socket can be bound to no other.
fn is_of_this_host(ip: IpAddr) -> bool {
    ip.is_loopback() || ip.is_unspecified() || UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_own(endpoint: &str, listener: &Listener) -> bool {
        check_own(Signal::Logs, &Sourced::new(endpoint.to_owned(), "--to"), std::iter::once(listener)).is_err()
    }

    #[test]
    #[cfg_attr(windows, ignore = "an emulated one binds any address")]
    fn a_listener_on_all_addresses_is_the_endpoint_at_those_of_this_host_alone() {
        let all = Listener::Otlp("0.0.0.0:4318".parse().unwrap());
        for (endpoint, expected) in [
            ("http://127.0.0.1:4318", true),
            ("http://127.9.9.9:4318/v1/logs", true),
            ("http://0.0.0.0:4318", true),
            ("http://[::ffff:127.0.0.1]:4318", true),
            ("http://127.0.0.1:4319", false),
            ("http://127.0.0.1", false),
            // Addresses that are nobody's, kept for documents.
            ("http://192.0.2.1:4318", false),
            ("http://user:4318@203.0.113.7:4318/v1/logs", false),
        ] {
            assert_eq!(is_own(endpoint, &all), expected, "{endpoint}");
        }
        let port_80 = Listener::Http("127.0.0.1:80".parse().unwrap());
        assert!(is_own("http://127.0.0.1/in", &port_80) && !is_own("https://127.0.0.1/in", &port_80));
    }

    #[cfg(unix)]
    #[test]
    fn a_unix_socket_is_the_endpoint_by_any_way_to_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("log.sock"), dir.path().join("link.sock"));
        let listener = Listener::Unix(path.clone());
        let _bound = listener.bind().unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let dir = dir.path().display();
        for (endpoint, expected) in [
            (format!("unix:{dir}/log.sock"), true),
            (format!("unix://{dir}/log.sock"), true),
            (format!("UNIX:{dir}/./log%2Esock"), true),
            (format!("unix:{dir}/link.sock"), true),
            (format!("unix:{dir}/other.sock"), false),
            (format!("file://{dir}/log.sock"), false),
        ] {
            assert_eq!(is_own(&endpoint, &listener), expected, "{endpoint}");
        }
    }
}
