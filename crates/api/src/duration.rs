//! Durations as Istio's objects and flags write them: Go's syntax (`1h2m3s`, `1.5s`, `100ms`), which has that of protobuf's JSON in it.

use std::time::Duration;

/// Nothing in a mesh lasts longer; keeps arithmetic on durations from overflowing.
const MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Longest text of a duration.
pub(crate) const LENGTH_MAX: usize = 64;

/// Reads a duration; `None` if it is none, is negative, or is longer than a hundred years.
pub fn parse(text: &str) -> Option<Duration> {
    if text.len() > LENGTH_MAX {
        return None;
    }
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return None;
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let unit_length = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_length);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        let part = Duration::try_from_secs_f64(number * seconds).ok()?;
        total = total.checked_add(part).filter(|total| *total <= MAX)?;
        rest = tail;
    }
    Some(total)
}

/// What is said of a text that is no duration of at least so many milliseconds, and what to do.
pub(crate) fn refusal(min: u64) -> (String, &'static str) {
    match min {
        0 => (
            "is not a duration".to_owned(),
            "write a number with a unit, such as 500ms, 2s, 1m30s",
        ),
        min => (
            format!("is not a duration of at least {min}ms"),
            "write a number with a unit, such as 500ms, 2s, 1m30s, or leave the field out",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_go_durations() {
        for (text, expected) in [
            ("0", Some(Duration::ZERO)),
            ("0s", Some(Duration::ZERO)),
            ("100ms", Some(Duration::from_millis(100))),
            ("1.5s", Some(Duration::from_millis(1500))),
            ("1h2m3s", Some(Duration::from_secs(3723))),
            ("10us", Some(Duration::from_micros(10))),
            ("", None),
            ("s", None),
            ("5", None),
            ("5 s", None),
            ("-1s", None),
            ("1d", None),
            ("1.2.3s", None),
            ("99999999999h", None),
        ] {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }
}
