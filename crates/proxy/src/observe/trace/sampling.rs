//! Whether a request is traced, as Envoy decides it: by the request id, so that every proxy on the way decides alike.
//!
//! The fourteenth place of a UUID of version 4 is always `4`; a traced request has `9` there, or `a` or `b` where somebody forced
//! it (Envoy, "Tracing", and `UuidRequestIdConfig.pack_trace_reason`).

use http::{HeaderMap, HeaderValue};

use crate::model::matcher::Fraction;
use crate::stream_info::header_names::REQUEST_ID;

/// Length of a UUID as text, and the place in it that tells why a request is traced.
const UUID_BYTES: usize = 36;
const REASON_AT: usize = 14;

/// Shares of requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shares {
    /// Of those whose client asks.
    pub client: Fraction,
    /// Of the others.
    pub random: Fraction,
    /// Upper bound on all of them.
    pub overall: Fraction,
}

/// Decides about a request, and notes the decision in its id. A request whose id is not a UUID is not traced: the proxies on its way
/// could not agree.
pub(crate) fn decide(
    headers: &mut HeaderMap,
    client_asks: bool,
    shares: Shares,
    mut random: impl FnMut() -> u64,
) -> bool {
    let id = headers.get(REQUEST_ID).map(HeaderValue::as_bytes);
    let Some(id) = id.filter(|id| id.len() == UUID_BYTES) else {
        return false;
    };
    let before = id[REASON_AT];
    let number = number_of(id).unwrap_or_else(&mut random);
    let reason = match before {
        b'9' | b'a' | b'b' => before,
        _ if client_asks && within(shares.client, random()) => b'b',
        _ if within(shares.random, number) => b'9',
        _ => b'4',
    };
    let reason = if within(shares.overall, number) { reason } else { b'4' };
    if reason != before && before.is_ascii_hexdigit() {
        let mut changed = [0; UUID_BYTES];
        changed.copy_from_slice(id);
        changed[REASON_AT] = reason;
        if let Ok(value) = HeaderValue::from_bytes(&changed) {
            headers.insert(REQUEST_ID, value);
        }
    }
    reason != b'4'
}

/// The first eight digits, the same for every proxy on the way.
fn number_of(id: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(id.get(..8)?).ok()?;
    u64::from_str_radix(text, 16).ok()
}

fn within(share: Fraction, number: u64) -> bool {
    number % 1_000_000 < u64::from(share.parts_per_million)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Fraction = Fraction { parts_per_million: 0 };
    const HALF: Fraction = Fraction {
        parts_per_million: 500_000,
    };
    const ALL: Fraction = Fraction {
        parts_per_million: 1_000_000,
    };

    fn check(id: &str, client_asks: bool, shares: [Fraction; 3], expected: bool, id_after: &str) {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_str(id).unwrap());
        let [client, random, overall] = shares;
        let shares = Shares {
            client,
            random,
            overall,
        };
        let traced = decide(&mut headers, client_asks, shares, || 0);
        assert_eq!(
            (traced, headers[REQUEST_ID].to_str().unwrap()),
            (expected, id_after),
            "{id} {shares:?}"
        );
    }

    #[test]
    fn the_request_id_decides_and_remembers() {
        // 0x00000001 is below every half, 0x0007ffff (524,287) above it.
        let low = "00000001-0000-4000-8000-000000000000";
        let low_traced = "00000001-0000-9000-8000-000000000000";
        let low_asked = "00000001-0000-b000-8000-000000000000";
        let high = "0007ffff-0000-4000-8000-000000000000";
        check(low, false, [ALL, HALF, ALL], true, low_traced);
        check(high, false, [ALL, HALF, ALL], false, high);
        check(low, false, [ALL, NONE, ALL], false, low);
        check(low, true, [ALL, NONE, ALL], true, low_asked);
        check(low, true, [NONE, NONE, ALL], false, low);
        // Somebody before us decided.
        check(low_traced, false, [ALL, NONE, ALL], true, low_traced);
        // The bound takes it back.
        check(low_traced, false, [ALL, ALL, NONE], false, low);
        check("not a uuid", true, [ALL, ALL, ALL], false, "not a uuid");
    }
}
