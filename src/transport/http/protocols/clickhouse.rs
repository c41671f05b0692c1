//! ClickHouse over HTTP: the code of the exception says whether the rows, the table or the load is the cause.

use crate::transport::http::response::{Reading, Response};
use crate::transport::verdict::{Suspicion, Verdict};

/// Codes about the rows: text that cannot be parsed, values that do not fit their column or violate a constraint.
const CLICKHOUSE_ROWS: [u32; 27] = [
    6, 25, 26, 27, 32, 33, 38, 41, 53, 69, 70, 72, 117, 128, 130, 131, 190, 321, 349, 376, 407, 441, 467, 469, 675,
    676, 691,
];

/// Codes that an operator can fix: a column, a table, a database, the statement, a setting, the user, the user's rights.
const CLICKHOUSE_SETTINGS: [u32; 19] =
    [10, 16, 20, 46, 60, 62, 73, 81, 85, 115, 164, 192, 193, 194, 195, 291, 452, 497, 516];

/// Codes about the load: too many queries, too little memory, too many parts.
const CLICKHOUSE_LOAD: [u32; 3] = [202, 241, 252];

/// `Code: 60. DB::Exception: ... (NAME) (version ...)`, anywhere in a body, under any status: even 200 where the exception came
/// late.
pub(super) struct Exception {
    code: Option<u32>,
    /// The first line.
    line: String,
    /// The code's name, which newer versions add.
    name: Option<String>,
    too_many_partitions: bool,
}

impl Exception {
    pub(super) fn find(body: &[u8]) -> Option<Self> {
        let body = String::from_utf8_lossy(body);
        let at = body.find("Code: ").filter(|_| body.contains("DB::"))?;
        let text = &body[at..];
        let digits: String = text[6..].chars().take_while(char::is_ascii_digit).collect();
        let is_name =
            |name: &&str| name.contains('_') && name.chars().all(|char| matches!(char, 'A'..='Z' | '0'..='9' | '_'));
        let names = text.split('(').skip(1).filter_map(|behind| behind.split_once(')').map(|(name, _)| name));
        Some(Self {
            code: digits.parse().ok(),
            line: text.lines().next().unwrap_or_default().to_owned(),
            // The text before it can show what was logged, and look like a name.
            name: names.filter(is_name).last().map(str::to_owned),
            too_many_partitions: text.contains("Too many partitions"),
        })
    }

    /// The first line, but the code alone where the text can show a row.
    pub(super) fn words(&self, status: u16) -> String {
        let is_about = |codes: &[u32]| self.code.is_some_and(|code| codes.contains(&code));
        let shows_no_row = is_about(&CLICKHOUSE_SETTINGS)
            || is_about(&CLICKHOUSE_LOAD)
            || !is_about(&CLICKHOUSE_ROWS) && !matches!(status, 200..=299 | 400 | 413 | 415 | 422);
        match (self.code, &self.name) {
            _ if shows_no_row => self.line.clone(),
            (Some(code), Some(name)) => format!("Code: {code} ({name})"),
            (Some(code), None) => format!("Code: {code}"),
            (None, _) => String::new(),
        }
    }
}

pub(super) fn read(response: &Response, words: &str) -> Reading {
    let Some(exception) = Exception::find(&response.body) else {
        let succeeded = (200..300).contains(&response.status);
        if succeeded && !response.whole {
            let why = "the response breaks off or is too long, and may hold an exception";
            return Reading::new(Verdict::Unconfirmed, response, why);
        }
        return Reading::new(Verdict::of(response), response, words);
    };
    let reading = |verdict| Reading::new(verdict, response, words);
    match exception.code {
        Some(code) if CLICKHOUSE_ROWS.contains(&code) => reading(Verdict::Rejected),
        Some(code) if CLICKHOUSE_SETTINGS.contains(&code) => reading(Verdict::Hold),
        // More partitions in one insert than the server takes.
        Some(252) if exception.too_many_partitions => reading(Verdict::TooLarge),
        Some(code) if CLICKHOUSE_LOAD.contains(&code) => reading(Verdict::Retry).suspecting(Suspicion::Load),
        // A replica that is read-only, a failure within.
        Some(_) if !matches!(response.status, 400..=499) => reading(Verdict::Retry),
        _ => reading(Verdict::of(response)),
    }
}

#[cfg(test)]
mod tests {
    use crate::encode::framing::ResponseProtocol;
    use crate::transport::http::protocols::tests::{read, read_start, reading};
    use crate::transport::verdict::{Suspicion, Verdict};

    #[test]
    fn clickhouses_code_counts_more_than_its_status() {
        let exception = |status, code| {
            let body = format!("Code: {code}. DB::Exception: why. (NAME) (version 25.8)\n");
            read(ResponseProtocol::ClickHouse, status, body).0
        };
        assert_eq!(exception(500, 27), Verdict::Rejected, "older versions say 500 where a row cannot be parsed");
        assert_eq!(exception(400, 691), Verdict::Rejected);
        let of_2018 =
            "Code: 27, e.displayText() = DB::Exception: Cannot parse input: (at row 2)\n, e.what() = DB::Exception";
        assert_eq!(read(ResponseProtocol::ClickHouse, 500, of_2018).0, Verdict::Rejected);
        assert_eq!(exception(400, 62), Verdict::Hold, "the statement is in the endpoint's URL");
        assert_eq!(exception(404, 60), Verdict::Hold);
        assert_eq!(exception(403, 516), Verdict::Hold);
        assert_eq!(exception(500, 241), Verdict::Retry);
        assert_eq!(exception(400, 252), Verdict::Retry);
        assert_eq!(exception(400, 9999), Verdict::Rejected, "one that is not known");
        assert_eq!(exception(500, 9999), Verdict::Retry);
        let days = "Code: 252. DB::Exception: Too many partitions for single INSERT block (more than 100).";
        assert_eq!(read(ResponseProtocol::ClickHouse, 500, days).0, Verdict::TooLarge);
        let row = "Code: 27. DB::Exception: Cannot parse input: expected ',' before: 's3cret'";
        assert_eq!(read(ResponseProtocol::ClickHouse, 400, row).1, "the server responded with 400: Code: 27");
        assert_eq!(exception(200, 241), Verdict::Retry, "an exception that came late");
        assert_eq!(read(ResponseProtocol::ClickHouse, 200, "").0, Verdict::Delivered);
        assert_eq!(read(ResponseProtocol::ClickHouse, 502, "Bad Gateway").0, Verdict::Retry);
    }
    #[test]
    fn an_exception_about_the_load_asks_to_wait() {
        let suspicion = |status, code| {
            let body = format!("Code: {code}. DB::Exception: why. (NAME) (version 25.8)\n");
            reading(ResponseProtocol::ClickHouse, status, body, true).suspicion
        };
        assert_eq!(
            [(500, 241), (500, 202), (500, 252)].map(|(status, code)| suspicion(status, code)),
            [Suspicion::Load; 3]
        );
        assert_eq!(suspicion(500, 242), Suspicion::Unknown, "a table that is read-only");
        assert_eq!(suspicion(400, 41), Suspicion::Content, "a time that cannot be parsed");
        assert_eq!(suspicion(404, 60), Suspicion::Endpoint);
    }

    #[test]
    fn a_success_that_breaks_off_is_unconfirmed_unless_its_exception_was_seen() {
        let start = |status, body| read_start(ResponseProtocol::ClickHouse, status, body);
        assert_eq!(start(200, ""), Verdict::Unconfirmed);
        // It breaks the response off on purpose where an exception comes late.
        assert_eq!(start(200, "__exception__\r\nCode: 27. DB::Exception: Cannot"), Verdict::Rejected);
        assert_eq!(start(200, "Code: 241. DB::Exception: (total) memory limit exceeded"), Verdict::Retry);
        assert_eq!(start(500, ""), Verdict::Retry);
    }
}
