//! Words of a server, made fit to be shown and stored: without the request's secrets and without control characters.
//!
//! Gateways and debugging endpoints repeat a request in their response, its `Authorization` included.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT};
use percent_encoding::percent_decode_str;
use reqwest::Url;

use crate::transport::http::headers::HeaderMap;

/// What is shorter is no secret, and too likely to stand in any text.
const MIN_SECRET_BYTES: usize = 4;

/// The most of an error of this side that is shown.
pub(super) const MAX_ERROR_BYTES: usize = 1_000;

const MASK: &str = "***";

/// The values that are not to be shown.
#[derive(Clone, Debug, Default)]
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    /// Those of URLs: users, passwords, and the values of their queries.
    pub(super) fn of_urls<'a>(urls: impl IntoIterator<Item = &'a Url>) -> Self {
        let mut secrets = Self::default();
        for url in urls {
            let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
            let (user, password) = (decoded(url.username()), decoded(url.password().unwrap_or_default()));
            if !user.is_empty() || !password.is_empty() {
                secrets.add(&STANDARD.encode(format!("{user}:{password}")));
            }
            for text in [url.username(), url.password().unwrap_or_default(), &user, &password] {
                secrets.add(text);
            }
            let pairs = url.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
            for (_, value) in pairs {
                secrets.add(value);
            }
            for (_, value) in url.query_pairs() {
                secrets.add(&value);
            }
        }
        secrets.0.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets
    }

    /// These, and the values of the headers of a request, but for those that say how the body is to be read.
    pub(super) fn and_of(&self, headers: &HeaderMap) -> Self {
        let mut secrets = self.clone();
        for (name, value) in headers.iter() {
            if [CONTENT_TYPE, CONTENT_ENCODING, USER_AGENT].contains(name) || name == "idempotency-key" {
                continue;
            }
            let value = String::from_utf8_lossy(value.as_bytes());
            secrets.add(&value);
            // `Bearer TOKEN`: the token can be repeated alone, and a password without the user.
            if let Some((_, credentials)) = value.split_once(' ') {
                secrets.add(credentials.trim());
                if let Ok(pair) = STANDARD.decode(credentials.trim())
                    && let Ok(pair) = String::from_utf8(pair)
                    && let Some((_, password)) = pair.split_once(':')
                {
                    secrets.add(password);
                    secrets.add(&pair);
                }
            }
        }
        secrets.0.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets
    }

    fn add(&mut self, secret: &str) {
        let secret = secret.trim();
        // As JSON texts and forms repeat it.
        let quoted = secret.replace('\\', "\\\\").replace('"', "\\\"");
        let slashes_too = quoted.replace('/', "\\/");
        let encoded: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        for form in [secret, &quoted, &slashes_too, &encoded] {
            if form.len() >= MIN_SECRET_BYTES && !self.0.iter().any(|known| known == form) {
                self.0.push(form.to_owned());
            }
        }
    }

    /// The words, with every secret as `***` and every character escaped that steers a terminal, at most so many bytes.
    pub(super) fn redact(&self, words: &str, max_bytes: usize) -> String {
        let mut shown = String::new();
        let mut rest = words;
        while let Some(next) = rest.chars().next() {
            let piece = if let Some(len) = self.secret_at(rest) {
                rest = &rest[len..];
                MASK.to_owned()
            } else {
                rest = &rest[next.len_utf8()..];
                if steers(next) { next.escape_default().to_string() } else { next.to_string() }
            };
            shown.push_str(&piece);
            if shown.len() > max_bytes {
                while shown.len() + MORE.len() > max_bytes && shown.pop().is_some() {}
                shown.push_str(MORE);
                break;
            }
        }
        shown
    }

    /// The length of the secret with which a text begins, or of the start of one with which it breaks off.
    fn secret_at(&self, text: &str) -> Option<usize> {
        let whole = self.0.iter().find(|secret| text.starts_with(&***secret)).map(String::len);
        let broken_off = || self.0.iter().any(|secret| text.len() >= MIN_SECRET_BYTES && secret.starts_with(text));
        whole.or_else(|| broken_off().then_some(text.len()))
    }
}

/// Stands where words were cut off.
const MORE: &str = "…";

/// Whether a character moves, hides or reorders what stands around it.
fn steers(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
                | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> Secrets {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer t0ken-of-checkout"),
            ("x-api-key", "k3y\"quoted"),
            ("x-session", "a+b/c=="),
            ("x-short", "abc"),
            ("content-type", "application/json"),
            ("idempotency-key", "the-id-of-the-batch"),
        ] {
            headers.insert(name, value).unwrap();
        }
        let url = Url::parse("http://us%65r1:pa%73sword@host/in?tenant=ac%6De&x=1").unwrap();
        Secrets::of_urls([&url]).and_of(&headers)
    }

    #[test]
    fn no_secret_of_the_request_is_left_in_any_form() {
        let shown = |words: &str| secrets().redact(words, 200);
        assert_eq!(shown("no Bearer t0ken-of-checkout here"), "no *** here");
        assert_eq!(shown("token=t0ken-of-checkout"), "token=***", "without its scheme");
        assert_eq!(shown(r#"{"x-api-key":"k3y\"quoted"}"#), r#"{"x-api-key":"***"}"#, "quoted");
        assert_eq!(shown(r#"{"session":"a+b\/c=="}"#), r#"{"session":"***"}"#, "quoted, slashes as well");
        assert_eq!(shown("session=a%2Bb%2Fc%3D%3D&x"), "session=***&x", "in a form");
        assert_eq!(shown("user1 password acme ac%6De"), "*** *** *** ***", "of the URL, encoded or not");
        assert_eq!(shown(&STANDARD.encode("user1:password")), "***");
        assert_eq!(shown("abc the-id-of-the-batch application/json"), "abc the-id-of-the-batch application/json");
        assert_eq!(shown("cut: t0ken-of-ch"), "cut: ***", "the start of one, where the words break off");
    }

    #[test]
    fn a_password_is_a_secret_without_its_user() {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", format!("Basic {}", STANDARD.encode("me:s3cret"))).unwrap();
        let secrets = Secrets::default().and_of(&headers);
        assert_eq!(secrets.redact("me, s3cret, me:s3cret", 200), "me, ***, ***");
    }

    #[test]
    fn characters_that_steer_a_terminal_are_visible() {
        let shown = Secrets::default().redact("a\x1b[2Jb\r\n\u{202e}c\u{200b}\u{9b}é", 200);
        assert_eq!(shown, "a\\u{1b}[2Jb\\r\\n\\u{202e}c\\u{200b}\\u{9b}é");
    }

    #[test]
    fn the_length_is_cut_between_characters() {
        let none = Secrets::default();
        assert_eq!(none.redact(&"é".repeat(100), 200), "é".repeat(100));
        let cut = none.redact(&"é".repeat(101), 200);
        assert_eq!(cut, "é".repeat(98) + "…");
        assert!(none.redact(&"\x1b".repeat(300), 200).len() <= 200);
    }
}
