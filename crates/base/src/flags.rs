//! Values of flags that several programs have.

use std::time::Duration;

/// Nothing in a mesh lasts longer; keeps arithmetic on times from overflowing.
const DURATION_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A duration such as `500ms`, `10s`, `2m` or `24h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits]
        .parse()
        .map_err(|_| format!("{text:?} does not start with a number"))?;
    let duration = match &text[digits..] {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.saturating_mul(60)),
        "h" => Duration::from_secs(number.saturating_mul(3600)),
        _ => return Err(format!("{text:?} needs a unit: ms, s, m or h")),
    };
    if duration > DURATION_MAX {
        return Err(format!("{text:?} is longer than a hundred years"));
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        for (text, expected) in [
            ("500ms", Some(Duration::from_millis(500))),
            ("10s", Some(Duration::from_secs(10))),
            ("2m", Some(Duration::from_secs(120))),
            ("1h", Some(Duration::from_secs(3600))),
            ("10", None),
            ("s", None),
            ("-1s", None),
            ("999999h", None),
            ("18446744073709551615h", None),
            ("18446744073709551616s", None),
        ] {
            assert_eq!(duration(text).ok(), expected, "{text}");
        }
    }
}
