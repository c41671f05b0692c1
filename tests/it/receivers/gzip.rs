//! Bodies with gzip as the libraries of four other languages read them: one member, its checksum and length right, and nothing
//! behind it.

use super::*;

/// Has a program read a body from a file and say it without gzip.
fn gunzip(decoder: &mut Command, body: &[u8]) -> Vec<u8> {
    let dir = spool_dir();
    let file = dir.path().join("body.gz");
    fs::write(&file, body).expect("a file");
    let output = decoder.arg(&file).output().expect("a program that is installed");
    assert!(output.status.success(), "{decoder:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Every body, whether it was put together from stored pieces, from parts of them after a split, or from one record.
fn reads_every_body(decoder: impl Fn() -> Command) {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    // So that there are parts of batches as well.
    receiver.answer_by(|request| if request.messages.len() > 60 { Answer::status(413) } else { Answer::ok() });
    let service = shop(exporter_to(&receiver.url("/ingest"), &spool).with_compression(Compression::Gzip));
    orders(&service, 1..=COUNT);
    deliver(&service);
    order(&service, COUNT + 1, |_| {});
    deliver(&service);

    assert_eq!(receiver.delivered(), names("m", 1..=COUNT + 1));
    for request in receiver.requests() {
        assert_eq!(request.header("content-encoding"), Some("gzip"));
        assert_eq!(gunzip(&mut decoder(), &request.body), &*request.plain());
    }
}

fn with_script(program: &str, name: &str) -> impl Fn() -> Command {
    let (program, script) = (program.to_owned(), script(name));
    move || {
        let mut command = Command::new(&program);
        command.arg(&script);
        command
    }
}

#[test]
fn php_reads_every_body() {
    if installed("/usr/bin/php").is_some() {
        reads_every_body(with_script("/usr/bin/php", "gunzip.php"));
    }
}

#[test]
fn ruby_reads_every_body() {
    if installed("/usr/bin/ruby").is_some() {
        reads_every_body(with_script("/usr/bin/ruby", "gunzip.rb"));
    }
}

#[test]
fn perl_reads_every_body() {
    if installed("/usr/share/perl/5.36/IO/Uncompress/Gunzip.pm").is_some() {
        reads_every_body(with_script("/usr/bin/perl", "gunzip.pl"));
    }
}

#[test]
fn java_reads_every_body() {
    let Some(compiler) = installed("/usr/bin/javac") else { return };
    let classes = spool_dir();
    run(Command::new(compiler).arg("-d").arg(classes.path()).arg(script("Gunzip.java"))).expect("a class");
    reads_every_body(|| {
        let mut java = Command::new("java");
        java.arg("-cp").arg(classes.path()).arg("Gunzip");
        java
    });
}
