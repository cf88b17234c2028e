//! Which protocol a client wants to go on with, whether it may, and how its side is had then.

use std::sync::Arc;

use http::Version;
use http::header::{self, HeaderMap};
use tokio::sync::oneshot;

use crate::http1::framing;
use crate::http2::tunnel::TunnelStream;
use crate::model::http::Upgrade;
use crate::stream::Rewound;

/// What a plain CONNECT wants.
pub const CONNECT: &str = "connect";

/// How a client's side of a tunnel is had once it has switched.
#[derive(Debug, Default)]
pub enum ClientSwitch {
    /// It asked for none.
    #[default]
    None,
    /// The connection, from whoever writes the answer on it.
    Http1(oneshot::Receiver<Rewound>),
    /// A stream of the connection.
    Http2(TunnelStream),
}

/// The protocol that an HTTP/1.1 client offers to go on with, lower case, where that is one to switch to. `h2c` never is, and the request
/// is one of HTTP/1.1 then (RFC 9110, section 7.8, lets a server pass an offer over, as Envoy does). Several are one together, as with
/// Envoy: configuration seldom allows that.
pub fn offered(headers: &HeaderMap, version: Version) -> Option<Arc<str>> {
    if version != Version::HTTP_11 {
        return None;
    }
    let mut lines = headers.get_all(header::UPGRADE).iter();
    let mut protocols = lines.next()?.to_str().ok()?.to_ascii_lowercase();
    for line in lines {
        protocols.push(',');
        protocols.push_str(&line.to_str().ok()?.to_ascii_lowercase());
    }
    let asked = framing::list(headers, &header::CONNECTION).any(|option| option.eq_ignore_ascii_case("upgrade"));
    (asked && protocols != "h2c").then(|| Arc::from(protocols))
}

/// The route decides where it says something, else the connection manager.
pub fn upgrade_enabled(protocol: &str, route: &[Upgrade], manager: &[Upgrade]) -> bool {
    let named = |list: &[Upgrade]| {
        list.iter()
            .find(|upgrade| &*upgrade.protocol == protocol)
            .map(|u| u.enabled)
    };
    named(route).or_else(|| named(manager)).unwrap_or(false)
}

/// Whether a CONNECT on this route ends at the proxy.
pub fn ends_here(protocol: &str, route: &[Upgrade]) -> bool {
    protocol == CONNECT
        && route
            .iter()
            .any(|upgrade| &*upgrade.protocol == protocol && upgrade.ends_here)
}
