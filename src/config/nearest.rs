//! The name that is meant by one that does not exist. It is pure.

/// Longer names are no slip of the hand.
const LONGEST: usize = 64;

/// The least letters that tell a name by its beginning or end.
const LEAST: usize = 3;

/// The one of `names` that is probably meant by `given`: the nearest, if up to a third of the letters differ, else the only one that
/// begins or ends like it.
pub(crate) fn nearest<'a>(given: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.to_ascii_lowercase();
    if !(1..=LONGEST).contains(&given.len()) {
        return None;
    }
    let names: Vec<_> = names.into_iter().map(|name| (name, name.to_ascii_lowercase())).collect();
    let near =
        names.iter().map(|(name, lower)| (distance(&given, lower), *name)).min_by_key(|(distance, _)| *distance)?;
    if near.0 <= (given.chars().count() / 3).max(1) {
        return Some(near.1);
    }
    let mut alike = names.iter().filter(|(_, lower)| {
        let (short, long) = if lower.len() < given.len() { (&**lower, &*given) } else { (&*given, &**lower) };
        short.len() >= LEAST && (long.starts_with(short) || long.ends_with(short))
    });
    match (alike.next(), alike.next()) {
        (Some((name, _)), None) => Some(name),
        _ => None,
    }
}

/// The fewest letters to put in, leave out, replace or swap with the next one until one word is the other.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    // The distances of the beginnings of `other` from those of `one`: two letters ago, one letter ago, and now.
    let (mut before, mut last): (Vec<usize>, Vec<usize>) = (Vec::new(), (0..=other.len()).collect());
    for (at, letter) in one.iter().enumerate() {
        let mut now = vec![at + 1];
        for (to, wanted) in other.iter().enumerate() {
            let mut fewest = (last[to] + usize::from(letter != wanted)).min(last[to + 1] + 1).min(now[to] + 1);
            if at > 0 && to > 0 && *letter == other[to - 1] && one[at - 1] == *wanted {
                fewest = fewest.min(before[to - 1] + 1);
            }
            now.push(fewest);
        }
        before = std::mem::replace(&mut last, now);
    }
    last[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distance_counts_letters_that_are_missing_too_many_wrong_or_swapped() {
        for (one, other, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("linger", "linger", 0),
            ("linegr", "linger", 1),
            ("linge", "linger", 1),
            ("lingger", "linger", 1),
            ("lunger", "linger", 1),
            ("gzip", "lz4", 3),
        ] {
            assert_eq!((distance(one, other), distance(other, one)), (expected, expected), "{one} {other}");
        }
    }

    #[test]
    fn a_name_is_meant_by_a_slip_of_it_or_by_a_part_that_no_other_has() {
        let names = ["DIR", "MAX_BYTES", "MAX_AGE", "http/protobuf", "http/json"];
        for (given, expected) in [
            ("dri", Some("DIR")),
            ("MAX_BYTS", Some("MAX_BYTES")),
            ("DIRECTORY", Some("DIR")),
            ("protobuf", Some("http/protobuf")),
            ("http", None),
            ("MAX", None),
            ("", None),
            ("something else", None),
            (&"x".repeat(100_000), None),
        ] {
            assert_eq!(nearest(given, names), expected, "{given}");
        }
    }
}
