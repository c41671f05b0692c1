//! The tool on a terminal: colors, and `top`.

use common::Terminal;

use super::*;

fn on_terminal<'a>(args: impl IntoIterator<Item = &'a str>, environment: &[(&str, &str)]) -> Terminal {
    let mut command = tool(args);
    // Each of them says of its own whether there are colors, `CI` also where the terminal has none.
    for variable in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI"] {
        command.env_remove(variable);
    }
    command.env("TERM", "xterm-256color").envs(environment.iter().copied());
    Terminal::start(&command, 80, 24)
}

#[test]
fn there_are_colors_on_a_terminal_only_and_none_where_nobody_wants_them() {
    let spool = spool_dir();
    left(small(exporter_to(NOWHERE, &spool)), |service| service.log_of("acme", 1..=3));
    let dir = spool.path().to_str().expect("text");
    let colored = |environment: &[(&str, &str)]| {
        let (code, out) = on_terminal(["ls", dir], environment).finish();
        assert!(code == 0 && out.contains("gone"), "{out}");
        out.contains('\u{1b}')
    };
    assert!(colored(&[]));
    assert!(!colored(&[("NO_COLOR", "1")]));
    assert!(!colored(&[("TERM", "dumb")]));
    assert!(!print(spool.path(), ["ls"]).contains('\u{1b}'));
    let (_, help) = on_terminal(["ls", "--help"], &[]).finish();
    assert!(help.contains('\u{1b}'), "{help}");
}

#[test]
fn top_without_a_terminal_says_what_there_is_in_its_place() {
    let spool = spool_dir();
    left(small(exporter_to(NOWHERE, &spool)), |service| service.log_of("acme", 1..=3));
    let (code, out, error) = run(spool.path(), ["top"]);
    assert!(code == 2 && out.is_empty() && error.contains("ls --json"), "{error}");
}

#[test]
fn top_shows_what_comes_and_goes_and_the_newest_rejected_record_and_leaves_the_terminal_as_it_was() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    left_rejected(&receiver, &Answer::status(422).body("no such field"), &spool, 1);
    receiver.answer_always(Answer::ok());
    receiver.go_down();
    let mut child = start_child(&receiver.url("/ingest"), spool.path());
    log_of(&mut child, "acme", 1, 1234);
    let dir = spool.path().to_str().expect("text");
    let mut top = on_terminal(["top", "--every", "100ms", dir], &[]);
    let queue = id(&queues(spool.path())[0]);
    let row = |screen: &str| screen.lines().find(|line| line.starts_with(&queue)).unwrap_or_default().to_owned();
    top.wait_for("a queue that waits and why", |screen| {
        row(screen).contains("1,234")
            && screen.contains(&format!("to {}", receiver.url("/ingest")))
            && screen.contains("failed ")
    });
    top.wait_for("all of it", |screen| screen.contains("1 queue, 1 alive; 1,234 waiting; 1 rejected"));

    top.press("r");
    let page = top.wait_for("the rejected record", |screen| screen.contains("no such field"));
    assert!(page.contains("acme-000001") && !page.contains("OWNER"), "{page}");
    top.press("r");
    top.wait_for("the queues", |screen| screen.contains("OWNER"));

    top.press(" ");
    top.wait_for("a pause", |screen| screen.contains("PAUSED"));
    receiver.come_up();
    child.tell("flush");
    child.wait_for("flushed");
    let paused = top.screen();
    assert!(row(&paused).contains("1,234"), "{paused}");
    top.press(" ");
    top.wait_for("that all is delivered", |screen| screen.contains("; 0 waiting; ") && !screen.contains("PAUSED"));
    top.wait_for("a rate", |screen| row(screen).split_whitespace().nth(5).is_some_and(|rate| rate != "-"));

    top.press("s");
    top.wait_for("another order", |screen| screen.contains("s sort: LAG"));
    top.press("q");
    let (code, out) = top.finish();
    assert_eq!(code, 0);
    // The other screen is left, and the cursor is back.
    assert!(out.contains("\u{1b}[?1049l") && out.contains("\u{1b}[?25h"), "{out:?}");
}

#[test]
fn top_ends_by_a_signal_as_it_does_by_a_key() {
    let spool = spool_dir();
    left(small(exporter_to(NOWHERE, &spool)), |service| service.log_of("acme", 1..=3));
    let top = on_terminal(["top", spool.path().to_str().expect("text")], &[("NO_COLOR", "1")]);
    top.wait_for("a queue", |screen| screen.contains("gone"));
    top.terminate();
    let (code, out) = top.finish();
    assert!(code == 0 && out.contains("\u{1b}[?1049l"), "{out:?}");
    assert!(!out.contains("\u{1b}[33m") && !out.contains("\u{1b}[38;5;3m"), "{out:?}");
}
