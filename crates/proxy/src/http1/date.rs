//! The date that answers are given (RFC 9110, section 5.6.7), written once a second.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderValue;
use time::OffsetDateTime;

/// The date of the second that was asked for last.
#[derive(Debug)]
pub struct DateCache {
    last: RefCell<(u64, HeaderValue)>,
}

// === impl DateCache ===

impl DateCache {
    /// The date of a moment.
    pub fn at(&self, now: SystemTime) -> HeaderValue {
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut last = self.last.borrow_mut();
        if last.0 != seconds {
            *last = (seconds, written(seconds));
        }
        last.1.clone()
    }
}

impl Default for DateCache {
    fn default() -> Self {
        Self {
            last: RefCell::new((0, written(0))),
        }
    }
}

fn written(seconds: u64) -> HeaderValue {
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let seconds = i64::try_from(seconds).unwrap_or_default();
    let date = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let day = DAYS[usize::from(date.weekday().number_days_from_monday())];
    let month = MONTHS[usize::from(u8::from(date.month())) - 1];
    let text = format!(
        "{day}, {:02} {month} {:04} {:02}:{:02}:{:02} GMT",
        date.day(),
        date.year(),
        date.hour(),
        date.minute(),
        date.second()
    );
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates_are_written_as_http_has_them() {
        let cache = DateCache::default();
        for (seconds, expected) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (1_709_208_000, "Thu, 29 Feb 2024 12:00:00 GMT"),
        ] {
            assert_eq!(cache.at(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }
}
