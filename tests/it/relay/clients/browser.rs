//! A page of another site in a real browser cannot write to a relay on the same machine.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::{Answer, Receiver, run, skip, spool_dir, wait_for};
use opentelemetry_spool::DropReason;

use super::super::{http_of, http_relay};

const BROWSER: &str = "chromium";

/// A browser. It is killed when this is dropped.
struct Browser(Child);

impl Browser {
    fn open(url: &str, profile: &Path) -> Self {
        let mut command = Command::new(BROWSER);
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
        command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
        command.arg(format!("--user-data-dir={}", profile.display())).arg("--remote-debugging-port=0").arg(url);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self(child.expect("a browser that is installed"))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_page_of_another_site_stores_nothing_neither_by_fetch_nor_by_a_form() {
    if let Err(why) = run(Command::new(BROWSER).arg("--version")) {
        return skip(&why);
    }
    let (receiver, spool, profile) = (Receiver::start(), spool_dir(), spool_dir());
    let relay = http_relay(&receiver, spool.path());
    let target = format!("http://{}/log", relay.addresses()[0]);
    let page = format!(
        r#"<!doctype html><title>page</title><form method="post" action="{target}"><input name="log" value="by a form"></form>
        <script>
        fetch("{target}", {{method: "POST", mode: "no-cors", body: "by fetch"}})
            .catch(() => {{}})
            .finally(() => document.forms[0].submit());
        </script>"#
    );
    let site = Receiver::start();
    site.answer_always(Answer::ok().header("Content-Type", "text/html").body(&page));
    // Another port is another origin; another name is another site as well.
    let browser = Browser::open(&site.url("/").replace("127.0.0.1", "localhost"), profile.path());
    wait_for("two refusals", || (relay.stats().dropped(DropReason::CrossSite) == 2).then_some(()));
    drop(browser);

    // A client of the machine is served all the same.
    assert_eq!(http_of(&relay).ask("GET", "/log?log=by+a+client", &[], b"").expect("a response").status, 200);
    assert_eq!(receiver.wait_for_records(1), ["by a client"]);
    assert_eq!(relay.logs().stats().accepted_records, 1);
}
