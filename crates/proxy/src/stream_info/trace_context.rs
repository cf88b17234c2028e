//! Trace context on the wire: W3C `traceparent` and B3, read from a request and written for the next hop.
//!
//! W3C Trace Context level 1 (<https://www.w3.org/TR/trace-context-1/>) goes first, then B3 in one header, then in several
//! (<https://github.com/openzipkin/b3-propagation>). What is malformed counts as absent. B3 goes on in the form in which it came.

use http::{HeaderMap, HeaderName, HeaderValue};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const B3: HeaderName = HeaderName::from_static("b3");
const B3_TRACE_ID: HeaderName = HeaderName::from_static("x-b3-traceid");
const B3_SPAN_ID: HeaderName = HeaderName::from_static("x-b3-spanid");
const B3_PARENT_ID: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const B3_FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

/// Length of a `traceparent` of version 00.
const TRACEPARENT_BYTES: usize = 55;

/// What a request says of the trace that it is part of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Incoming {
    /// Trace and the caller's span.
    pub parent: Option<Parent>,
    /// Whether the caller samples; `None` leaves it to us.
    pub sampled: Option<bool>,
    /// Vendors' state that belongs to a valid `traceparent`.
    pub state: Option<HeaderValue>,
    b3: B3Form,
}

/// The caller's span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    pub trace_id: u128,
    /// Span within it.
    pub span_id: u64,
}

/// In which form B3 came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum B3Form {
    #[default]
    None,
    Single,
    Multiple,
}

/// The span of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// Trace; never zero.
    pub trace_id: u128,
    /// This span; never zero.
    pub span_id: u64,
    /// The caller's span, where there is one.
    pub parent_id: Option<u64>,
    /// Whether spans are reported.
    pub sampled: bool,
    /// Vendors' state, passed on unchanged.
    pub state: Option<HeaderValue>,
}

// === impl Incoming ===

impl Incoming {
    /// Reads a request's headers.
    pub fn extract(headers: &HeaderMap) -> Self {
        let b3 = match headers.get(B3).map(parse_b3) {
            Some(Some(found)) => found,
            Some(None) => Self::default(),
            None => parse_b3_multiple(headers),
        };
        let Some((parent, sampled)) = only(headers, &TRACEPARENT).and_then(parse_traceparent) else {
            return b3;
        };
        Self {
            parent: Some(parent),
            sampled: Some(sampled),
            state: joined(headers, &TRACESTATE),
            b3: b3.b3,
        }
    }
}

// === impl TraceContext ===

impl TraceContext {
    /// A span of the caller's trace, or the first of a new one. It is sampled where neither `decision` nor the caller is against it, as
    /// in Envoy.
    pub fn start(incoming: &Incoming, decision: bool, mut random: impl FnMut() -> u64) -> Self {
        let mut id = || random().max(1);
        let sampled = decision && incoming.sampled.unwrap_or(true);
        match incoming.parent {
            Some(parent) => Self {
                trace_id: parent.trace_id,
                span_id: id(),
                parent_id: Some(parent.span_id),
                sampled,
                state: incoming.state.clone(),
            },
            None => Self {
                trace_id: u128::from(id()) << 64 | u128::from(id()),
                span_id: id(),
                parent_id: None,
                sampled,
                state: None,
            },
        }
    }

    /// Every request of a traced listener carries one, sampled or not: made without formatting.
    fn traceparent(&self) -> [u8; TRACEPARENT_BYTES] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&mut text[3..35], self.trace_id);
        write_hex(&mut text[36..52], u128::from(self.span_id));
        text[54] += u8::from(self.sampled);
        text
    }

    /// Tells the next hop that this span is its parent.
    pub fn inject(&self, headers: &mut HeaderMap, incoming: &Incoming) {
        if let Ok(value) = HeaderValue::from_bytes(&self.traceparent()) {
            headers.insert(TRACEPARENT, value);
        }
        let sampled = u8::from(self.sampled);
        if self.state.is_none() {
            // A state without its valid `traceparent` must not go on (W3C Trace Context, section 3.3).
            headers.remove(TRACESTATE);
        }
        match incoming.b3 {
            B3Form::None => {}
            B3Form::Single => {
                let mut text = format!("{:032x}-{:016x}-{sampled}", self.trace_id, self.span_id);
                if let Some(parent) = self.parent_id {
                    text.push_str(&format!("-{parent:016x}"));
                }
                set(headers, B3, &text);
            }
            B3Form::Multiple => {
                set(headers, B3_TRACE_ID, &format!("{:032x}", self.trace_id));
                set(headers, B3_SPAN_ID, &format!("{:016x}", self.span_id));
                match self.parent_id {
                    Some(parent) => set(headers, B3_PARENT_ID, &format!("{parent:016x}")),
                    None => {
                        headers.remove(B3_PARENT_ID);
                    }
                }
                // The debug flag implies the decision and excludes the other header.
                if !headers.contains_key(B3_FLAGS) {
                    set(headers, B3_SAMPLED, &sampled.to_string());
                }
            }
        }
    }
}

/// Fills `digits` with the low digits of a number.
fn write_hex(digits: &mut [u8], mut number: u128) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

/// A header that is there once. Several that must be one are as good as none.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then_some(first)
}

/// A list that may come in several lines (W3C Trace Context, section 3.3.1; RFC 9110, section 5.3), as one.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    let mut rest = values.peekable();
    if rest.peek().is_none() {
        return Some(first.clone());
    }
    let lines: Vec<&[u8]> = std::iter::once(first).chain(rest).map(HeaderValue::as_bytes).collect();
    HeaderValue::from_bytes(&lines.join(&b","[..])).ok()
}

fn parse_traceparent(value: &HeaderValue) -> Option<(Parent, bool)> {
    let bytes = value.as_bytes();
    let version = lower_hex(bytes.get(..2)?)?;
    // A later version may have more behind the flags, this one may not.
    let whole = match version {
        0 => bytes.len() == TRACEPARENT_BYTES,
        0xff => false,
        _ => bytes.len() == TRACEPARENT_BYTES || bytes.get(TRACEPARENT_BYTES) == Some(&b'-'),
    };
    if !whole || [2, 35, 52].into_iter().any(|at| bytes.get(at) != Some(&b'-')) {
        return None;
    }
    let parent = Parent::new(lower_hex(&bytes[3..35])?, lower_hex(&bytes[36..52])?)?;
    let flags = lower_hex(&bytes[53..55])?;
    Some((parent, flags & 1 == 1))
}

/// `{trace}-{span}[-{sampling}[-{parent}]]`, or only the sampling.
fn parse_b3(value: &HeaderValue) -> Option<Incoming> {
    let text = value.to_str().ok()?;
    let incoming = |parent, sampled| Incoming {
        parent,
        sampled,
        state: None,
        b3: B3Form::Single,
    };
    let mut parts = text.split('-');
    let (trace, span) = (parts.next()?, parts.next());
    let Some(span) = span else {
        return Some(incoming(None, Some(b3_sampled(trace)?)));
    };
    let parent = Parent::new(b3_trace_id(trace)?, b3_id(span)?)?;
    let sampled = match parts.next() {
        Some(state) => Some(b3_sampled(state)?),
        None => None,
    };
    Some(incoming(Some(parent), sampled))
}

fn parse_b3_multiple(headers: &HeaderMap) -> Incoming {
    let text = |name: &HeaderName| only(headers, name).and_then(|value| value.to_str().ok());
    let parent = text(&B3_TRACE_ID)
        .and_then(b3_trace_id)
        .zip(text(&B3_SPAN_ID).and_then(b3_id));
    let parent = parent.and_then(|(trace_id, span_id)| Parent::new(trace_id, span_id));
    let sampled = match text(&B3_FLAGS) {
        Some("1") => Some(true),
        _ => text(&B3_SAMPLED).and_then(b3_sampled),
    };
    let there = parent.is_some() || sampled.is_some();
    Incoming {
        parent,
        sampled,
        state: None,
        b3: if there { B3Form::Multiple } else { B3Form::None },
    }
}

/// `d` is debug, the words are an older form.
fn b3_sampled(text: &str) -> Option<bool> {
    match text {
        "1" | "d" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}

/// 64 or 128 bits.
fn b3_trace_id(text: &str) -> Option<u128> {
    if text.len() == 32 || text.len() == 16 {
        return hex(text.as_bytes());
    }
    None
}

fn b3_id(text: &str) -> Option<u128> {
    if text.len() == 16 { hex(text.as_bytes()) } else { None }
}

fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number: u128, digit| {
        Some(number << 4 | u128::from(char::from(*digit).to_digit(16)?))
    })
}

/// Upper case is malformed in `traceparent`.
fn lower_hex(digits: &[u8]) -> Option<u128> {
    if digits.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    hex(digits)
}

// === impl Parent ===

impl Parent {
    /// Zero is no id.
    fn new(trace_id: u128, span_id: u128) -> Option<Self> {
        let span_id = u64::try_from(span_id).ok()?;
        (trace_id != 0 && span_id != 0).then_some(Self { trace_id, span_id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        let mut headers = HeaderMap::new();
        for (name, value) in lines.iter().map(line) {
            headers.append(name, value);
        }
        headers
    }

    /// `expected` is `trace/span/sampling`, or `-` for no parent.
    fn check(lines: &[(&'static str, &str)], expected: &str) {
        let incoming = Incoming::extract(&headers(lines));
        let parent = incoming.parent.map_or_else(
            || "-".to_owned(),
            |parent| format!("{:x}/{:x}", parent.trace_id, parent.span_id),
        );
        let sampled = match incoming.sampled {
            Some(true) => "yes",
            Some(false) => "no",
            None => "open",
        };
        assert_eq!(format!("{parent}/{sampled}"), expected, "{lines:?}");
    }

    #[test]
    fn traceparents() {
        let good = format!("{}/{}", TRACE.trim_start_matches('0'), SPAN);
        for (value, expected) in [
            (format!("00-{TRACE}-{SPAN}-01"), format!("{good}/yes")),
            (format!("00-{TRACE}-{SPAN}-00"), format!("{good}/no")),
            (format!("00-{TRACE}-{SPAN}-03"), format!("{good}/yes")),
            (format!("cc-{TRACE}-{SPAN}-01"), format!("{good}/yes")),
            (format!("cc-{TRACE}-{SPAN}-01-more"), format!("{good}/yes")),
            (format!("cc-{TRACE}-{SPAN}-01.more"), "-/open".to_owned()),
            (format!("00-{TRACE}-{SPAN}-01-more"), "-/open".to_owned()),
            (format!("ff-{TRACE}-{SPAN}-01"), "-/open".to_owned()),
            (format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), "-/open".to_owned()),
            (format!("00-{}-{SPAN}-01", "0".repeat(32)), "-/open".to_owned()),
            (format!("00-{TRACE}-{}-01", "0".repeat(16)), "-/open".to_owned()),
            (format!("00-{TRACE}-{SPAN}-0"), "-/open".to_owned()),
            (format!("00-{TRACE}-{SPAN}-0x"), "-/open".to_owned()),
            (format!("00_{TRACE}-{SPAN}-01"), "-/open".to_owned()),
            (String::new(), "-/open".to_owned()),
        ] {
            check(&[("traceparent", &value)], &expected);
        }
        let valid = format!("00-{TRACE}-{SPAN}-01");
        check(&[("traceparent", &valid), ("traceparent", &valid)], "-/open");
    }

    #[test]
    fn a_state_in_several_lines_stays_whole() {
        let valid = format!("00-{TRACE}-{SPAN}-01");
        let mut headers = headers(&[
            ("traceparent", &valid),
            ("tracestate", "a=1"),
            ("tracestate", "b=2,c=3"),
        ]);
        let incoming = Incoming::extract(&headers);
        assert_eq!(incoming.state, Some(HeaderValue::from_static("a=1,b=2,c=3")));
        TraceContext::start(&incoming, true, || 7).inject(&mut headers, &incoming);
        let lines: Vec<&HeaderValue> = headers.get_all(TRACESTATE).iter().collect();
        assert_eq!(lines, ["a=1", "b=2,c=3"]);
        assert_eq!(headers[TRACEPARENT], format!("00-{TRACE}-0000000000000007-01").as_str());
        let unsampled = TraceContext::start(&incoming, false, || 0xab_cdef);
        unsampled.inject(&mut headers, &incoming);
        assert_eq!(headers[TRACEPARENT], format!("00-{TRACE}-0000000000abcdef-00").as_str());
    }

    #[test]
    fn b3_in_both_forms() {
        let good = format!("{}/{}", TRACE.trim_start_matches('0'), SPAN);
        for (value, expected) in [
            (format!("{TRACE}-{SPAN}-1-{SPAN}"), format!("{good}/yes")),
            (format!("{TRACE}-{SPAN}-d"), format!("{good}/yes")),
            (format!("{TRACE}-{SPAN}-0"), format!("{good}/no")),
            (format!("{TRACE}-{SPAN}"), format!("{good}/open")),
            (
                format!("{}-{SPAN}-1", &TRACE[16..]),
                format!("{}/{SPAN}/yes", &TRACE[16..]),
            ),
            ("0".to_owned(), "-/no".to_owned()),
            ("1".to_owned(), "-/yes".to_owned()),
            (format!("{TRACE}-{SPAN}-x"), "-/open".to_owned()),
            (format!("{TRACE}-short-1"), "-/open".to_owned()),
        ] {
            check(&[("b3", &value)], &expected);
        }
        let ids = [("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN)];
        check(&ids, &format!("{good}/open"));
        check(&[ids[0], ids[1], ("x-b3-sampled", "1")], &format!("{good}/yes"));
        check(&[ids[0], ids[1], ("x-b3-flags", "1")], &format!("{good}/yes"));
        check(&[("x-b3-sampled", "0")], "-/no");
        check(&[ids[0]], "-/open");
        // W3C goes first.
        let w3c = format!("00-{TRACE}-{SPAN}-00");
        check(&[("traceparent", &w3c), ("b3", "1")], &format!("{good}/no"));
    }

    #[test]
    fn the_next_hop_gets_this_span_in_the_forms_that_came() {
        let mut ids = 1..;
        let mut random = || ids.next().unwrap();
        let w3c = format!("00-{TRACE}-{SPAN}-01");
        let multiple = [("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN), ("x-b3-sampled", "1")];
        for (lines, expected) in [
            (
                vec![("traceparent", w3c.as_str()), ("tracestate", "a=1")],
                vec!["traceparent", "tracestate"],
            ),
            (vec![("traceparent", "bad"), ("tracestate", "a=1")], vec!["traceparent"]),
            (vec![("b3", "1")], vec!["b3", "traceparent"]),
            (
                multiple.to_vec(),
                vec![
                    "traceparent",
                    "x-b3-parentspanid",
                    "x-b3-sampled",
                    "x-b3-spanid",
                    "x-b3-traceid",
                ],
            ),
        ] {
            let mut headers = headers(&lines);
            let incoming = Incoming::extract(&headers);
            let context = TraceContext::start(&incoming, true, &mut random);
            context.inject(&mut headers, &incoming);
            let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
            names.sort_unstable();
            assert_eq!(names, expected, "{lines:?}");
            let next = Incoming::extract(&headers);
            let own = Parent {
                trace_id: context.trace_id,
                span_id: context.span_id,
            };
            assert_eq!((next.parent, next.sampled), (Some(own), Some(true)), "{lines:?}");
        }
    }
}
