//! Numbers: integers, and times with decimals, which no type of serde holds exactly.

use serde_core::Serialize;

/// The two digits of each number below a hundred.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number as usize] = [b'0' + number / 10, b'0' + number % 10];
        number += 1;
    }
    pairs
};

/// Writes an integer, or null.
#[inline]
pub(in crate::encode) fn write_integer(out: &mut Vec<u8>, value: impl Serialize) {
    // Nothing that is written into memory fails.
    let _ = serde_json::to_writer(out, &value);
}

/// Writes `value / 10^DECIMALS` exactly, with at least one decimal and no zero behind that. There are at most six
/// decimals.
pub(in crate::encode) fn write_decimal<const DECIMALS: u32>(out: &mut Vec<u8>, value: i128) {
    if value < 0 {
        out.push(b'-');
    }
    let (value, scale) = (value.unsigned_abs(), const { 10_u64.pow(DECIMALS) });
    // 128 bits are slow, and only needed for years beyond 500,000.
    let rest = if let Ok(value) = u64::try_from(value) {
        write_integer(out, value / scale);
        value % scale
    } else {
        out.extend_from_slice((value / u128::from(scale)).to_string().as_bytes());
        u64::try_from(value % u128::from(scale)).unwrap_or_default()
    };
    let millionths = rest * const { 10_u64.pow(6 - DECIMALS) };
    let pairs = [millionths / 10_000, millionths / 100, millionths].map(|number| PAIRS[(number % 100) as usize]);
    let mut digits = [b'.'; 7];
    digits[1..].copy_from_slice(pairs.as_flattened());
    out.extend_from_slice(&digits);
    let zeros = digits[2..].iter().rev().take_while(|digit| **digit == b'0').count();
    out.truncate(out.len() - zeros);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same by the formatter of the standard library.
    fn expected(value: i128, decimals: u32) -> String {
        let (sign, value, scale) = (if value < 0 { "-" } else { "" }, value.unsigned_abs(), 10_u128.pow(decimals));
        let text = format!("{sign}{}.{:0width$}", value / scale, value % scale, width = decimals as usize);
        let least = text.len() + 1 - decimals as usize;
        text[..least].to_owned() + text[least..].trim_end_matches('0')
    }

    fn written(value: i128, decimals: u32) -> String {
        let mut out = Vec::new();
        match decimals {
            3 => write_decimal::<3>(&mut out, value),
            _ => write_decimal::<6>(&mut out, value),
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_decimal_has_no_zero_at_its_end_but_one_behind_the_point() {
        let cases = [(0, "0.0"), (1, "0.000001"), (-1_500_000, "-1.5"), (1_000_000, "1.0"), (12_000_100, "12.0001")];
        for (value, text) in cases {
            assert_eq!(written(value, 6), text);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_decimal_is_the_digits_of_its_number(
            value in prop_oneof![any::<i128>(), any::<i64>().prop_map(i128::from), -2_000_000_i128..2_000_000],
            decimals in prop_oneof![Just(3_u32), Just(6)],
        ) {
            prop_assert_eq!(written(value, decimals), expected(value, decimals));
        }
    }
}
