//! The endpoint's URL: what is allowed, what may be shown of it, and a path below it.

use reqwest::Url;

use crate::config::values::Sourced;
use crate::error::ExporterBuildError;

/// The form that is allowed. The URL itself is repeated in no error: it can hold a password.
const ALLOWED: &str = "allowed is http://host/path or https://host/path, with or without a query";

/// Parses the endpoint.
///
/// # Errors
///
/// If it is no URL, has no host, or has a fragment, which no request carries.
pub(super) fn parse(endpoint: &Sourced<String>) -> Result<Url, ExporterBuildError> {
    let url = Url::parse(&endpoint.value)
        .map_err(|error| endpoint.invalid_because(format!("it is not a URL; {ALLOWED}"), error))?;
    if !url.has_host() {
        return Err(endpoint.invalid(format!("it has no host; {ALLOWED}")));
    }
    if url.fragment().is_some() {
        return Err(endpoint.invalid(format!("it has a fragment, behind #, which is not sent; {ALLOWED}")));
    }
    Ok(url)
}

/// The URL without its user and password; `None` if it is none.
pub(crate) fn public_url(url: &str) -> Option<String> {
    let mut url = Url::parse(url).ok()?;
    // Fails only for a URL that has no host, which has no password either.
    let _ = url.set_password(None).and_then(|()| url.set_username(""));
    Some(url.into())
}

/// The URL with a path below its own, before its query; as it is where it is no URL, which opening it reports.
pub(crate) fn with_path_below(url: &str, path: &str) -> String {
    let Ok(mut parsed) = Url::parse(url) else { return url.to_owned() };
    if parsed.cannot_be_a_base() {
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
            ("collector:4318", "collector:4318"),
            ("s3cret", "s3cret"),
        ] {
            assert_eq!(with_path_below(url, "v1/logs"), below);
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
        ] {
            let error = parse(&Sourced::new(url.to_owned(), "with_endpoint")).unwrap_err();
            let text = crate::error::error_chain(&error);
            assert!(text.contains(why) && !text.contains("s3cret"), "{url}: {text}");
        }
        assert!(parse(&Sourced::new("http://host/in?a=b".to_owned(), "with_endpoint")).is_ok());
    }
}
