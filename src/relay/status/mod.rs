//! The status page: what a relay does, for a person at `/`, for Prometheus at `/metrics` and for a service manager at `/healthz`.
//!
//! ```text
//!  whoever counts -> Snapshot -> respond() -> Page -> the HTTP server
//!                    once a second, plain data
//! ```
//!
//! It shows counts, never a record, and partition keys only with [`Options::show_keys`]. The page is put together in the browser from
//! `/status.json` by text nodes alone, and the policy in every response forbids it everything that does not come from here: an
//! endpoint's words stay words.

pub(crate) mod history;
mod json;
mod prometheus;
pub(crate) mod server;
pub(crate) mod snapshot;
mod verdict;

use std::borrow::Cow;

use crate::relay::status::snapshot::Snapshot;

/// The headers of every response.
const HEADERS: &[(&str, &str)] = &[
    (
        "Content-Security-Policy",
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
];

const PLAIN: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// The choices of whoever starts the relay.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// Partitions are listed by their keys, and not only counted.
    pub(crate) show_keys: bool,
}

/// A response.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    /// Further headers.
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) body: Cow<'static, [u8]>,
}

impl Page {
    fn new(status: u16, content_type: &'static str, body: impl Into<Cow<'static, str>>) -> Self {
        let body = match body.into() {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        Self { status, content_type, headers: HEADERS.to_vec(), body }
    }
}

/// The response to a request, with its body also where `HEAD` takes none: `GET` and `HEAD` of the page's own paths. `path` has no query.
pub(crate) fn respond(method: &str, path: &str, snapshot: &Snapshot, options: Options) -> Page {
    let get: fn(&Snapshot, Options) -> Page = match path {
        "/" => |_, _| Page::new(200, "text/html; charset=utf-8", include_str!("page/index.html")),
        "/status.js" => |_, _| Page::new(200, "text/javascript; charset=utf-8", include_str!("page/status.js")),
        "/status.css" => |_, _| Page::new(200, "text/css; charset=utf-8", include_str!("page/status.css")),
        "/status.json" => {
            |snapshot, options| Page::new(200, JSON, json::status(snapshot, options.show_keys).to_string())
        }
        "/history.json" => |snapshot, _| Page::new(200, JSON, json::history(snapshot).to_string()),
        "/metrics" => |snapshot, _| Page::new(200, prometheus::CONTENT_TYPE, prometheus::metrics(snapshot)),
        "/healthz" => |snapshot, _| match &snapshot.refusal {
            None => Page::new(200, PLAIN, "ok\n"),
            Some(refusal) => Page::new(503, PLAIN, format!("{}\n", refusal.words())),
        },
        _ => return Page::new(404, PLAIN, "not found\n"),
    };
    if !matches!(method, "GET" | "HEAD") {
        let mut page = Page::new(405, PLAIN, "method not allowed\n");
        page.headers.push(("Allow", "GET, HEAD"));
        return page;
    }
    get(snapshot, options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::status::snapshot::Refusal;
    use crate::relay::status::snapshot::tests::{HOSTILE, busy};

    const PATHS: &[(&str, &str)] = &[
        ("/", "text/html; charset=utf-8"),
        ("/status.js", "text/javascript; charset=utf-8"),
        ("/status.css", "text/css; charset=utf-8"),
        ("/status.json", "application/json"),
        ("/history.json", "application/json"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
        ("/healthz", "text/plain; charset=utf-8"),
    ];

    fn get(path: &str, snapshot: &Snapshot) -> Page {
        respond("GET", path, snapshot, Options::default())
    }

    fn text(page: &Page) -> &str {
        std::str::from_utf8(&page.body).expect("UTF-8")
    }

    #[test]
    fn each_path_has_its_type_also_with_head() {
        for (path, content_type) in PATHS {
            let page = get(path, &busy());
            assert_eq!((page.status, page.content_type), (200, *content_type), "{path}");
            assert!(!page.body.is_empty(), "{path}");
            let head = respond("HEAD", path, &busy(), Options::default());
            assert_eq!(
                (head.status, head.content_type, head.body.len()),
                (200, *content_type, page.body.len()),
                "{path}"
            );
        }
    }

    #[test]
    fn other_methods_and_paths_are_refused() {
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "get", ""] {
            for (path, _) in PATHS {
                let page = respond(method, path, &busy(), Options::default());
                assert_eq!(page.status, 405, "{method} {path}");
                assert!(page.headers.contains(&("Allow", "GET, HEAD")), "{method} {path}");
            }
        }
        for path in ["", "*", "//", "/index.html", "/status", "/metrics/", "/page/../status.js", "/%2e%2e"] {
            assert_eq!(get(path, &busy()).status, 404, "{path}");
        }
    }

    #[test]
    fn every_response_forbids_what_is_not_its_own() {
        let mut refusing = busy();
        refusing.refusal = Some(Refusal::SpoolFull);
        let paths = PATHS.iter().map(|(path, _)| *path).chain(["/nothing"]);
        for path in paths {
            for method in ["GET", "HEAD", "POST"] {
                let headers = respond(method, path, &refusing, Options::default()).headers;
                let header = |name: &str| headers.iter().find(|(own, _)| *own == name).map(|(_, value)| *value);
                let policy = header("Content-Security-Policy").expect("a policy");
                assert!(policy.starts_with("default-src 'self'; ") && !policy.contains("unsafe"), "{policy}");
                assert_eq!(header("X-Content-Type-Options"), Some("nosniff"), "{method} {path}");
                assert_eq!(header("Cache-Control"), Some("no-store"), "{method} {path}");
            }
        }
    }

    #[test]
    fn the_page_holds_nothing_that_its_policy_forbids() {
        let html = include_str!("page/index.html");
        assert_eq!(html.matches("<script").count(), 1);
        assert!(html.contains("<script src=\"/status.js\" defer></script>"));
        for inline in ["<style", "style=", "onclick", "onload", "javascript:", "http:", "https:", "//"] {
            assert!(!html.contains(inline), "{inline}");
        }
        let script = include_str!("page/status.js");
        for way in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval",
            "Function(",
            "import(",
            "setAttribute(\"style\"",
        ] {
            assert!(!script.contains(way), "{way}");
        }
        assert!(!include_str!("page/status.css").contains("url("));
    }

    #[test]
    fn an_endpoints_words_reach_the_page_by_json_alone() {
        let snapshot = busy();
        for (path, _) in PATHS {
            let holds = text(&get(path, &snapshot)).contains("onerror=alert");
            assert_eq!(holds, ["/status.json", "/metrics"].contains(path), "{path}: in JSON, and in a listener's name");
        }
        let json: serde_json::Value = serde_json::from_slice(&get("/status.json", &snapshot).body).expect("JSON");
        assert_eq!(json["signals"][0]["last_error"], HOSTILE);
    }

    #[test]
    fn keys_are_shown_only_where_they_are_asked_for() {
        let holds = |options| {
            PATHS
                .iter()
                .filter(|(path, _)| text(&respond("GET", path, &busy(), options)).contains("customer-17"))
                .map(|(path, _)| *path)
                .collect::<Vec<_>>()
        };
        assert_eq!(holds(Options::default()), Vec::<&str>::new());
        assert_eq!(holds(Options { show_keys: true }), ["/status.json"]);
    }

    #[test]
    fn health_is_bad_while_no_record_is_accepted_and_says_why() {
        let mut snapshot = busy();
        assert_eq!((get("/healthz", &snapshot).status, text(&get("/healthz", &snapshot))), (200, "ok\n"));
        for (refusal, reason) in [
            (Refusal::SpoolFull, "the spool is full"),
            (Refusal::CommitsFail("disk is read-only".to_owned()), "commits to the spool fail: disk is read-only"),
        ] {
            snapshot.refusal = Some(refusal);
            let page = get("/healthz", &snapshot);
            assert_eq!((page.status, text(&page).trim_end()), (503, reason));
            assert!(text(&get("/metrics", &snapshot)).contains("\nopentelemetry_spool_accepting 0\n"));
        }
    }
}
