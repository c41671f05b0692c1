//! Numbers in JSON, as clients write them: of any length, in exponent form, as texts.

/// The largest power of ten in 128 bits.
const MAX_POWER: u32 = 38;

/// A whole number: the part before the point, and whether there is nothing behind it. `None` for what is no number, and for one that is
/// longer than 128 bits. No digit is lost on the way through a float.
pub(super) fn whole(text: &str) -> Option<(i128, bool)> {
    let text = text.trim();
    if let Ok(value) = text.parse() {
        return Some((value, true));
    }
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (digits, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_fraction = fraction.bytes().all(|byte| byte.is_ascii_digit());
    // Zeros at the end say nothing, and could be too many.
    let fraction = fraction.trim_end_matches('0');
    if !is_fraction || digits.trim_start_matches(['+', '-']).len() + fraction.len() == 0 {
        return None;
    }
    let value: i128 = format!("{digits}{fraction}").parse().ok()?;
    let power = exponent.parse::<i64>().ok()?.checked_sub(i64::try_from(fraction.len()).ok()?)?;
    let scale =
        |power: u64| u32::try_from(power).ok().filter(|power| *power <= MAX_POWER).map(|power| 10_i128.pow(power));
    match (value, scale(power.unsigned_abs())) {
        (0, _) => Some((0, true)),
        (value, Some(scale)) if power >= 0 => Some((value.checked_mul(scale)?, true)),
        (value, Some(scale)) => Some((value / scale, value % scale == 0)),
        (_, None) => (power < 0).then_some((0, false)),
    }
}

/// A number as a float: also `NaN`, `Infinity` and `-Infinity`.
pub(super) fn double(text: &str) -> Option<f64> {
    text.trim().parse().ok()
}

/// Whether a float says all that a number says which was written so. JavaScript's integers are floats, and written without an exponent up
/// to 21 digits; those of other languages can have more digits than a float.
pub(super) fn is_exact(value: f64, text: &str) -> bool {
    let text = text.trim();
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
        return value.to_string() == text || format!("{value:.0}") == text;
    }
    value.is_finite() || !text.bytes().any(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_is_read_to_its_last_digit_in_any_form() {
        let cases: &[(&str, Option<(i128, bool)>)] = &[
            ("0", Some((0, true))),
            ("-12", Some((-12, true))),
            ("+12", Some((12, true))),
            (" 1700000000123456789 ", Some((1_700_000_000_123_456_789, true))),
            ("1.700000000123456789e18", Some((1_700_000_000_123_456_789, true))),
            ("1.7000000001234567895E+18", Some((1_700_000_000_123_456_789, false))),
            ("1e+21", Some((1_000_000_000_000_000_000_000, true))),
            ("12e-1", Some((1, false))),
            ("-1.50", Some((-1, false))),
            ("10e-1", Some((1, true))),
            ("1.000", Some((1, true))),
            (".5", Some((0, false))),
            ("5.", Some((5, true))),
            ("1e-999999999999", Some((0, false))),
            ("0e999999999999", Some((0, true))),
            ("1e39", None),
            ("1e999999999999999999999999", None),
            ("999999999999999999999999999999999999999999", None),
            ("", None),
            (".", None),
            ("-", None),
            ("e5", None),
            ("1.-5", None),
            ("NaN", None),
            ("0x10", None),
        ];
        for (text, expected) in cases {
            assert_eq!(whole(text), *expected, "{text}");
        }
    }

    #[test]
    fn a_float_says_what_javascript_writes_and_not_of_an_integer_of_70_bits() {
        for (text, expected) in [
            ("12345678901234567000", true),
            ("1e+21", true),
            ("0.1", true),
            ("Infinity", true),
            ("1e999", false),
            ("-1180591620717411303424", true),
            ("18446744073709551615", false),
            ("1180591620717411303423", false),
        ] {
            assert_eq!(is_exact(text.parse().unwrap(), text), expected, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_number_or_none(text in "[-+0-9.eE]{0,30}", other: String) {
            for text in [&text, &other] {
                let (whole, double) = (whole(text), double(text));
                if let (Some((whole, true)), Some(double)) = (whole, double) {
                    #[allow(clippy::cast_precision_loss, reason = "it is compared so")]
                    let whole = whole as f64;
                    proptest::prop_assert!((whole - double).abs() <= double.abs() * 1e-15, "{text}");
                }
            }
        }
    }
}
