//! ClickHouse over HTTP: the code of the exception says whether the rows, the table or the load is the cause.

use crate::transport::http::response::{Reading, Response};
use crate::transport::verdict::Verdict;

/// Codes about the rows: text that cannot be parsed, values that do not fit their column or violate a constraint.
const CLICKHOUSE_ROWS: [u32; 27] = [
    6, 25, 26, 27, 32, 33, 38, 41, 53, 69, 70, 72, 117, 128, 130, 131, 190, 321, 349, 376, 407, 441, 467, 469, 675,
    676, 691,
];

/// Codes that an operator can fix: a column, a table, a database, the statement, a setting, the user, the user's rights.
const CLICKHOUSE_SETTINGS: [u32; 19] =
    [10, 16, 20, 46, 60, 62, 73, 81, 85, 115, 164, 192, 193, 194, 195, 291, 452, 497, 516];

/// Reads `Code: 60. DB::Exception: ...`, under any status, even 200 where the exception came late.
pub(super) fn read(response: &Response) -> Reading {
    let body = String::from_utf8_lossy(&response.body);
    let at = body.find("Code: ").filter(|_| body.contains("DB::"));
    let code = at.and_then(|at| {
        let digits: String = body[at + 6..].chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().ok()
    });
    let verdict = match code {
        Some(code) if CLICKHOUSE_ROWS.contains(&code) => Verdict::Rejected,
        Some(code) if CLICKHOUSE_SETTINGS.contains(&code) => Verdict::Hold,
        // More partitions in one insert than the server takes.
        Some(252) if body.contains("Too many partitions") => Verdict::TooLarge,
        // Too many parts, too little memory, a replica that is read-only.
        Some(_) if !matches!(response.status, 400..=499) => Verdict::Retry,
        Some(202 | 241 | 252) => Verdict::Retry,
        _ => Verdict::of(response),
    };
    // The text of a rejected row stands behind the code.
    let detail = at.map(|at| body[at..].lines().next().unwrap_or_default()).unwrap_or_default();
    let detail =
        if verdict == Verdict::Rejected { detail.split([',', '.']).next().unwrap_or_default() } else { detail };
    Reading::new(verdict, response, detail)
}

#[cfg(test)]
mod tests {
    use crate::encode::framing::ResponseProtocol;
    use crate::transport::http::protocols::tests::read;
    use crate::transport::verdict::Verdict;

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
}
