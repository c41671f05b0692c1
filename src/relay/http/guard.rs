//! [`Guard`]: who may send.
//!
//! A listener on a loopback address can be reached by every web page that a browser of the host shows: by a plain request, or
//! by a name of the page's own that resolves to 127.0.0.1. A browser gives both away, by `Origin` or `Sec-Fetch-Site`, and by
//! `Host`. A request without `Host` comes from no browser. Browsers of before 2023 send neither `Origin` nor `Sec-Fetch-Site`
//! with a plain request such as an image's: against their pages, credentials help.

use std::fmt;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::head::Head;
use super::refusal::Refusal;

/// Decides by the head of a request whether its sender may send.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    hosts: Hosts,
    credentials: Vec<Credential>,
    /// The part of `Via` that names this relay.
    own_name: String,
}

/// The names by which a listener may be called.
#[derive(Clone, Debug)]
pub(crate) enum Hosts {
    /// No browser reaches it: a Unix socket.
    Any,
    /// The address to which it is bound (each one if it is bound to all), `localhost`, and these names.
    Only { bound: IpAddr, names: Vec<String> },
}

/// Credentials, of which only a hash is kept.
#[derive(Clone)]
pub(crate) struct Credential {
    scheme: &'static str,
    hash: [u8; 32],
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

impl Credential {
    /// A name and a password.
    pub(crate) fn basic(user: &str, password: &str) -> Self {
        Self { scheme: "Basic", hash: hash(&STANDARD.encode(format!("{user}:{password}"))) }
    }

    /// A token.
    pub(crate) fn bearer(token: &str) -> Self {
        Self { scheme: "Bearer", hash: hash(token) }
    }

    /// Whether a header has these credentials. It takes as long for wrong ones as for others that are wrong.
    fn fits(&self, scheme: &str, hash: &[u8; 32]) -> bool {
        let difference = self.hash.iter().zip(hash).fold(0, |sum, (ours, theirs)| sum | (ours ^ theirs));
        difference == 0 && self.scheme.eq_ignore_ascii_case(scheme)
    }
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

impl Guard {
    /// A guard of the relay with this id. Without credentials everyone has the right ones.
    pub(crate) fn new(hosts: Hosts, credentials: Vec<Credential>, relay_id: &str) -> Self {
        Self { hosts, credentials, own_name: own_name(relay_id) }
    }

    /// Whether it wants credentials.
    pub(crate) fn wants_credentials(&self) -> bool {
        !self.credentials.is_empty()
    }

    /// Lets a request pass.
    ///
    /// # Errors
    ///
    /// If it comes from a web page, from a stranger, or from this relay.
    pub(crate) fn check(&self, head: &Head) -> Result<(), Refusal> {
        let is_own_site = |site: &str| ["none", "same-origin"].iter().any(|own| site.eq_ignore_ascii_case(own));
        let is_from_a_page = head.values("origin").next().is_some() || !head.values("sec-fetch-site").all(is_own_site);
        if is_from_a_page || !head.values("host").all(|host| self.hosts.contain(host)) {
            return Err(Refusal::CrossSite);
        }
        if self.wants_credentials() && !self.knows(head.values("authorization").next().unwrap_or_default()) {
            return Err(Refusal::Unauthorized);
        }
        let is_own = |hop: &str| hop.split_ascii_whitespace().nth(1) == Some(&self.own_name);
        if head.elements("via").any(is_own) {
            return Err(Refusal::Loop);
        }
        Ok(())
    }

    fn knows(&self, authorization: &str) -> bool {
        let (scheme, given) = authorization.split_once(' ').unwrap_or_default();
        let hash = hash(given.trim());
        self.credentials.iter().fold(false, |known, credential| known | credential.fits(scheme, &hash))
    }
}

/// The value of `Via` with which a relay forwards a request.
pub(crate) fn via(relay_id: &str) -> String {
    format!("1.1 {}", own_name(relay_id))
}

fn own_name(relay_id: &str) -> String {
    format!("otel-spool;{relay_id}")
}

impl Hosts {
    /// Whether `Host` names the listener. The port does not matter: it is not the page's to choose, and some clients send none.
    fn contain(&self, host: &str) -> bool {
        let Self::Only { bound, names } = self else { return true };
        let bracketed = host.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let name = match bracketed {
            Some((name, _)) => name,
            None => host.split_once(':').map_or(host, |(name, _)| name),
        };
        if let Ok(address) = name.parse::<IpAddr>() {
            return address == *bound || bound.is_unspecified() || names.iter().any(|known| known == name);
        }
        let name = name.strip_suffix('.').unwrap_or(name);
        name.eq_ignore_ascii_case("localhost") || names.iter().any(|known| known.eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::super::head::{HeadLimits, HeadReader};
    use super::*;

    fn check(guard: &Guard, headers: &str) -> Result<(), Refusal> {
        let mut bytes = BytesMut::from(&*format!("POST / HTTP/1.1\r\n{headers}\r\n"));
        let limits = HeadLimits { line: 1000, headers: 1000, whole: 1000 };
        guard.check(&HeadReader::default().read(&mut bytes, limits).unwrap().unwrap())
    }

    #[test]
    fn a_request_that_a_browser_sent_for_a_page_is_refused() {
        let hosts = Hosts::Only { bound: "127.0.0.1".parse().unwrap(), names: vec!["Relay.Example".to_owned()] };
        let guard = Guard::new(hosts, Vec::new(), "id");
        let cases = [
            ("", true),
            ("Host: 127.0.0.1:9022\r\n", true),
            ("Host: 127.0.0.1\r\n", true),
            ("Host: LOCALHOST:1\r\n", true),
            ("Host: localhost.\r\n", true),
            ("Host: relay.example:80\r\n", true),
            ("Host:\r\n", false),
            ("Host: page.example:9022\r\n", false),
            ("Host: localhost.page.example\r\n", false),
            ("Host: 127.0.0.1.page.example\r\n", false),
            ("Host: 10.0.0.1\r\n", false),
            ("Host: [::1]:9022\r\n", false),
            ("Host: [127.0.0.1\r\n", false),
            ("Host: localhost\r\nhost: page.example\r\n", false),
            ("Origin: null\r\n", false),
            ("ORIGIN: http://localhost:9022\r\n", false),
            ("Sec-Fetch-Site: none\r\n", true),
            ("Sec-Fetch-Site: same-origin\r\n", true),
            ("Sec-Fetch-Site: same-site\r\n", false),
            ("Sec-Fetch-Site: cross-site\r\n", false),
            ("Sec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site\r\n", false),
        ];
        for (headers, passes) in cases {
            let expected = if passes { Ok(()) } else { Err(Refusal::CrossSite) };
            assert_eq!(check(&guard, headers), expected, "{headers}");
        }
    }

    #[test]
    fn a_listener_on_all_addresses_is_called_by_each_and_a_socket_by_any_name() {
        let all = Guard::new(Hosts::Only { bound: "::".parse().unwrap(), names: Vec::new() }, Vec::new(), "id");
        assert_eq!(check(&all, "Host: 10.0.0.1:9022\r\n"), Ok(()));
        assert_eq!(check(&all, "Host: [fe80::1]\r\n"), Ok(()));
        assert_eq!(check(&all, "Host: page.example\r\n"), Err(Refusal::CrossSite));
        let socket = Guard::new(Hosts::Any, Vec::new(), "id");
        assert_eq!(check(&socket, "Host: whatever\r\n"), Ok(()));
        assert_eq!(check(&socket, "Origin: null\r\n"), Err(Refusal::CrossSite));
    }

    #[test]
    fn only_who_knows_one_of_the_credentials_passes() {
        let credentials = vec![Credential::basic("user", "secret"), Credential::bearer("token")];
        let guard = Guard::new(Hosts::Any, credentials, "id");
        let cases = [
            ("Authorization: Basic dXNlcjpzZWNyZXQ=\r\n", true),
            ("authorization: basic  dXNlcjpzZWNyZXQ=\r\n", true),
            ("Authorization: Bearer token\r\n", true),
            ("", false),
            ("Authorization:\r\n", false),
            ("Authorization: token\r\n", false),
            ("Authorization: Bearer\r\n", false),
            ("Authorization: Bearer tokem\r\n", false),
            ("Authorization: Bearer token2\r\n", false),
            ("Authorization: Basic token\r\n", false),
            ("Authorization: Bearer dXNlcjpzZWNyZXQ=\r\n", false),
            ("Authorization: Bearer no\r\nAuthorization: Bearer token\r\n", false),
        ];
        for (headers, passes) in cases {
            let expected = if passes { Ok(()) } else { Err(Refusal::Unauthorized) };
            assert_eq!(check(&guard, headers), expected, "{headers}");
        }
        assert!(!format!("{guard:?}").contains("hash"));
    }

    #[test]
    fn what_the_relay_has_forwarded_itself_is_a_loop() {
        let guard = Guard::new(Hosts::Any, Vec::new(), "a1");
        let cases = [
            (format!("Via: {}\r\n", via("a1")), true),
            (format!("Via: 1.1 proxy, {}, 1.0 other\r\n", via("a1")), true),
            (format!("Via: 1.1 proxy\r\nvia: {}\r\n", via("a1")), true),
            (format!("Via: {}\r\n", via("a12")), false),
            ("Via: 1.1 proxy\r\n".to_owned(), false),
        ];
        for (headers, is_loop) in cases {
            let expected = if is_loop { Err(Refusal::Loop) } else { Ok(()) };
            assert_eq!(check(&guard, &headers), expected, "{headers}");
        }
    }
}
