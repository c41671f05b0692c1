//! The endpoint's URL: what is allowed, what may be shown of it, a path below it, and the id of a batch in its query.

use std::borrow::Cow;

use reqwest::Url;

use crate::config::values::{Origin, Signal, Sourced};
use crate::error::ExporterBuildError;

/// The port of OTLP over gRPC.
pub(crate) const GRPC_PORT: u16 = 4317;

/// The form that is allowed. The URL itself is repeated in no error: it can hold a password.
const ALLOWED: &str = "allowed is http://host/path or https://host/path, with or without a query";

/// In the endpoint's query, the place of the batch's id.
const BATCH_ID: &str = "{batch_id}";

/// The same where the braces are encoded, as this crate does it in a path and many tools everywhere.
const ENCODED_BATCH_ID: [&str; 2] = ["%7Bbatch_id%7D", "%7bbatch_id%7d"];

/// The setting of `ClickHouse` that names an insert.
const DEDUPLICATION_TOKEN: &str = "insert_deduplication_token";

/// Parses the endpoint.
///
/// # Errors
///
/// If it is no URL, has no host, has a fragment, which no request carries, has `{batch_id}` elsewhere than in its query, or names
/// every insert into `ClickHouse` alike, of which only the first would be stored.
pub(super) fn parse(endpoint: &Sourced<String>) -> Result<Url, ExporterBuildError> {
    let mut url = Url::parse(&endpoint.value)
        .map_err(|error| endpoint.invalid_because(format!("it is not a URL; {ALLOWED}"), error))?;
    if !url.has_host() || lacks_authority(&endpoint.value) {
        return Err(endpoint.invalid(format!("it has no host; {ALLOWED}")));
    }
    if url.fragment().is_some() {
        return Err(endpoint.invalid(format!("it has a fragment, behind #, which is not sent; {ALLOWED}")));
    }
    for encoded in ENCODED_BATCH_ID {
        if url.path().contains(encoded) {
            return Err(endpoint.invalid(format!("{BATCH_ID} is in its path; it may be in the query")));
        }
        if let Some(query) = url.query().filter(|query| query.contains(encoded)) {
            let query = query.replace(encoded, BATCH_ID);
            url.set_query(Some(&query));
        }
    }
    let places = |text: &str| text.matches(BATCH_ID).count();
    let decoded: usize = url.query_pairs().map(|(name, value)| places(&name) + places(&value)).sum();
    if decoded > places(url.query().unwrap_or_default()) {
        return Err(endpoint.invalid(format!("{BATCH_ID} is percent-encoded in its query in part; write it as it is")));
    }
    let names_an_insert = |text: &Cow<'_, str>| text.contains(DEDUPLICATION_TOKEN);
    let is_fixed = |(name, value): (Cow<'_, str>, Cow<'_, str>)| {
        (names_an_insert(&name) || names_an_insert(&value)) && !value.contains(BATCH_ID)
    };
    if url.query_pairs().any(is_fixed) {
        return Err(endpoint.invalid(format!(
            "its {DEDUPLICATION_TOKEN} is the same for every batch, so that ClickHouse would store the first one and say of all \
             others that it had; write {DEDUPLICATION_TOKEN}={BATCH_ID}"
        )));
    }
    Ok(url)
}

/// The URL to which a batch goes: its id takes the place of `{batch_id}` in the query. It has no character that a query encodes.
pub(super) fn for_batch(endpoint: &Url, id: &str) -> Url {
    let mut url = endpoint.clone();
    if let Some(query) = endpoint.query().filter(|query| query.contains(BATCH_ID)) {
        url.set_query(Some(&query.replace(BATCH_ID, id)));
    }
    url
}

/// Scheme, host and port of a URL; `None` if it is none.
pub(crate) fn origin(url: &str) -> Option<Origin> {
    let url = Url::parse(url).ok()?;
    let (host, port) = (url.host_str().filter(|host| !host.is_empty())?, url.port_or_known_default()?);
    Some(Origin::new(format!("{}://{host}:{port}", url.scheme())))
}

/// Whether nothing stands where the host belongs, as in `http:///path`: the parser would take the path's beginning for the host.
pub(super) fn lacks_authority(url: &str) -> bool {
    // As the parser reads it.
    let written: String = url.trim_start().chars().filter(|c| !matches!(c, '\t' | '\n' | '\r')).collect();
    let authority = written.split_once("://").map(|(_, authority)| authority);
    authority.is_some_and(|authority| authority.starts_with(['/', '\\']))
}

/// The parts of an endpoint that tell what is spoken there.
pub(crate) struct Spoken {
    pub(crate) is_tls: bool,
    /// The port, if it is not the scheme's own.
    pub(crate) port: Option<u16>,
    pub(crate) path: String,
}

impl Spoken {
    /// Those of a URL; `None` if it is none of HTTP.
    pub(crate) fn of(url: &str) -> Option<Self> {
        let url = Url::parse(url).ok()?;
        let is_tls = url.scheme() == "https";
        let path = url.path().trim_end_matches('/').to_owned();
        (is_tls || url.scheme() == "http").then(|| Self { is_tls, port: url.port(), path })
    }

    /// The signal whose path in OTLP it ends with.
    pub(crate) fn signal(&self) -> Option<Signal> {
        Signal::at_end_of(&self.path).map(|(signal, _)| signal)
    }
}

/// The URL without its user and password; `None` if it is none.
pub(crate) fn public_url(url: &str) -> Option<String> {
    let mut url = Url::parse(url).ok()?;
    // Fails only for a URL that has no host, which has no password either.
    let _ = url.set_password(None).and_then(|()| url.set_username(""));
    Some(url.into())
}

/// The URL as it may be shown: without its user and password, with `?...` in place of a query.
pub(super) fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    let _ = shown.set_password(None).and_then(|()| shown.set_username(""));
    shown.set_query(url.query().map(|_| "..."));
    shown.set_fragment(None);
    shown.into()
}

/// The URL with a path below its own, before its query; as it is where it is no URL, which opening it reports.
pub(crate) fn with_path_below(url: &str, path: &str) -> String {
    let Ok(mut parsed) = Url::parse(url) else { return url.to_owned() };
    if parsed.cannot_be_a_base() || lacks_authority(url) {
        return url.to_owned();
    }
    let below = format!("{}/{path}", parsed.path().strip_suffix('/').unwrap_or(parsed.path()));
    parsed.set_path(&below);
    parsed.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_below_a_url_stands_before_its_query() {
        for (url, below) in [
            ("http://collector:4318", "http://collector:4318/v1/logs"),
            ("http://collector:4318/", "http://collector:4318/v1/logs"),
            ("http://gateway/otel/", "http://gateway/otel/v1/logs"),
            ("http://gateway/otel?tenant=acme", "http://gateway/otel/v1/logs?tenant=acme"),
            ("http://gateway?tenant=a%2Fb", "http://gateway/v1/logs?tenant=a%2Fb"),
            ("http://me:pa%20ss@gateway/a%2Fb", "http://me:pa%20ss@gateway/a%2Fb/v1/logs"),
            ("http://gateway/otel#part", "http://gateway/otel/v1/logs#part"),
            ("http://", "http://"),
            ("http:///otel", "http:///otel"),
            ("collector:4318", "collector:4318"),
            ("s3cret", "s3cret"),
        ] {
            assert_eq!(with_path_below(url, "v1/logs"), below);
        }
    }

    #[test]
    fn an_endpoint_tells_by_the_end_of_its_path_whether_it_takes_otlp_and_of_which_signal() {
        for (url, signal) in [
            ("http://collector:4318/v1/logs", Some(Signal::Logs)),
            ("https://gateway/otel/v1/traces/?tenant=a", Some(Signal::Traces)),
            ("http://gateway/v1/metrics", Some(Signal::Metrics)),
            ("http://gateway/in?to=/v1/logs", None),
            ("http://gateway/my-v1/logs", None),
            ("http://gateway/v1/logs/in", None),
            ("file:///v1/logs", None),
            ("/v1/logs", None),
        ] {
            assert_eq!(Spoken::of(url).and_then(|spoken| spoken.signal()), signal, "{url}");
        }
    }

    #[test]
    fn what_is_no_endpoint_is_an_error_that_shows_nothing_of_it() {
        for (url, why) in [
            (
                "http://me:s3cret@host/in#s3cret",
                "it has a fragment, behind #, which is not sent; allowed is http://host",
            ),
            ("http://me:s3cret@host/in?a=s3cret#", "it has a fragment"),
            ("http://", "it is not a URL; allowed is"),
            ("http://?s3cret", "it is not a URL; allowed is"),
            ("http://:s3cret@/", "it is not a URL; allowed is"),
            ("https:s3cret://#", "it has a fragment"),
            ("http:///s3cret", "it has no host; allowed is http://host"),
            ("http:////s3cret/in", "it has no host"),
            (" http://\t/s3cret", "it has no host"),
            ("http://\\s3cret", "it has no host"),
        ] {
            let error = parse(&Sourced::new(url.to_owned(), "with_endpoint")).unwrap_err();
            let text = crate::error::error_chain(&error);
            assert!(text.contains(why) && !text.contains("s3cret"), "{url}: {text}");
        }
        assert!(parse(&Sourced::new("http://host/in?a=b".to_owned(), "with_endpoint")).is_ok());
    }

    fn parsed(url: &str) -> Result<Url, String> {
        parse(&Sourced::new(url.to_owned(), "with_endpoint")).map_err(|error| error.to_string())
    }

    #[test]
    fn the_id_of_a_batch_takes_its_place_in_the_query() {
        let id = "3f9c1b2a77d0e4c1.0-512-1023";
        for (endpoint, url) in [
            ("http://host/?t={batch_id}&u={batch_id}", format!("http://host/?t={id}&u={id}")),
            ("http://host/?t=%7Bbatch_id%7D&u=%7bbatch_id%7d", format!("http://host/?t={id}&u={id}")),
            ("http://host/?q=INSERT%20{batch_id}%20x", format!("http://host/?q=INSERT%20{id}%20x")),
            ("http://host/in?t={batch}&u=%7Bid%7D", "http://host/in?t={batch}&u=%7Bid%7D".to_owned()),
            ("http://host/in", "http://host/in".to_owned()),
        ] {
            assert_eq!(for_batch(&parsed(endpoint).unwrap(), id).as_str(), url);
        }
        for path in ["{batch_id}", "%7Bbatch_id%7D"] {
            let error = parsed(&format!("http://host/{path}")).unwrap_err();
            assert!(error.contains("it may be in the query"), "{error}");
        }
    }

    #[test]
    fn a_token_that_is_the_same_for_every_insert_is_an_error() {
        let own = "insert_deduplication_token={batch_id}";
        let in_sql =
            "query=INSERT%20INTO%20logs%20SETTINGS%20insert_deduplication_token='{batch_id}'%20FORMAT%20JSONEachRow";
        for query in [own, in_sql] {
            assert!(parsed(&format!("http://host/?{query}")).is_ok(), "{query}");
            for fixed in [query.replace("{batch_id}", "s3cret"), query.replace("{batch_id}", "")] {
                let error = parsed(&format!("http://host/?{fixed}")).unwrap_err();
                assert!(error.contains("write insert_deduplication_token={batch_id}"), "{fixed}: {error}");
                assert!(!error.contains("s3cret"), "{error}");
            }
        }
    }

    #[test]
    fn a_place_for_the_id_that_is_written_in_parts_is_an_error_and_not_sent_as_it_is() {
        assert!(parsed("http://host/?id=%7Bbatch_id%7D&at={batch_id}").is_ok());
        for query in ["insert_deduplication_token=%7Bbatch_id%7d", "id={batch%5Fid}", "a={batch_id}&b=%7Bbatch_id}"] {
            let error = parsed(&format!("http://host/?{query}")).unwrap_err();
            assert!(error.contains("{batch_id} is percent-encoded in its query in part"), "{query}: {error}");
        }
    }
}
