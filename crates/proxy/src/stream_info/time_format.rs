//! Times in access logs: Envoy's default ISO form, and strftime with its additions `%s`, `%3f`, `%6f`, `%9f`, `%f`.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;

use super::digits::padded;
use crate::model::access_log::TimeFormat;

/// Writes `time` in UTC; without a format as `2026-01-31T12:34:56.789Z`.
pub(crate) fn write(format: Option<&TimeFormat>, time: SystemTime, out: &mut String) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    let Ok(date) = OffsetDateTime::from_unix_timestamp(seconds) else {
        return;
    };
    let nanos = since.subsec_nanos();
    match format {
        None => {
            write_date(date, out);
            let time = [('T', date.hour()), (':', date.minute()), (':', date.second())];
            for (before, value) in time {
                out.push(before);
                padded(out, value.into(), 2);
            }
            out.push('.');
            padded(out, nanos / 1_000_000, 3);
            out.push('Z');
        }
        Some(format) => write_strftime(&format.source, date, nanos, out),
    }
}

fn write_date(date: OffsetDateTime, out: &mut String) {
    padded(out, date.year().unsigned_abs(), 4);
    out.push('-');
    padded(out, u8::from(date.month()).into(), 2);
    out.push('-');
    padded(out, date.day().into(), 2);
}

fn write_strftime(format: &str, date: OffsetDateTime, nanos: u32, out: &mut String) {
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let digits = chars.next_if(char::is_ascii_digit).and_then(|digit| digit.to_digit(10));
        let Some(specifier) = chars.next() else {
            out.push('%');
            return;
        };
        write_specifier(specifier, digits, date, nanos, out);
    }
}

fn write_specifier(specifier: char, digits: Option<u32>, date: OffsetDateTime, nanos: u32, out: &mut String) {
    let written = match specifier {
        'Y' => write!(out, "{:04}", date.year()),
        'y' => write!(out, "{:02}", date.year().rem_euclid(100)),
        'm' => write!(out, "{:02}", u8::from(date.month())),
        'd' => write!(out, "{:02}", date.day()),
        'e' => write!(out, "{:2}", date.day()),
        'H' => write!(out, "{:02}", date.hour()),
        'M' => write!(out, "{:02}", date.minute()),
        'S' => write!(out, "{:02}", date.second()),
        'j' => write!(out, "{:03}", date.ordinal()),
        'b' | 'h' => write!(out, "{:.3}", date.month().to_string()),
        'B' => write!(out, "{}", date.month()),
        'a' => write!(out, "{:.3}", date.weekday().to_string()),
        'A' => write!(out, "{}", date.weekday()),
        'z' => write!(out, "+0000"),
        'Z' => write!(out, "UTC"),
        's' => write!(out, "{}", date.unix_timestamp()),
        'f' => {
            let digits = digits.unwrap_or(9).clamp(1, 9);
            write!(
                out,
                "{:0width$}",
                nanos / 10_u32.pow(9 - digits),
                width = digits as usize
            )
        }
        'T' => write!(out, "{:02}:{:02}:{:02}", date.hour(), date.minute(), date.second()),
        'F' => {
            write_date(date, out);
            Ok(())
        }
        '%' => write!(out, "%"),
        other => write!(out, "%{other}"),
    };
    // Writing to a string does not fail.
    let _ = written;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    fn check(format: Option<&str>, expected: &str) {
        let format = format.map(|source| TimeFormat {
            source: Arc::from(source),
        });
        let mut out = String::new();
        write(
            format.as_ref(),
            UNIX_EPOCH + Duration::new(1_769_862_896, 7_089_000),
            &mut out,
        );
        assert_eq!(out, expected);
    }

    #[test]
    fn times_print_in_utc() {
        check(None, "2026-01-31T12:34:56.007Z");
        check(Some("%Y/%m/%dT%H:%M:%S%z %s"), "2026/01/31T12:34:56+0000 1769862896");
        check(Some("%3f %6f %9f %f"), "007 007089 007089000 007089000");
        check(Some("%a %b %e %j %F %T %%"), "Sat Jan 31 031 2026-01-31 12:34:56 %");
        check(Some("100%"), "100%");
    }
}
