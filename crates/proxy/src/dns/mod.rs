//! DNS beside the application: names of the mesh are answered from what discovery sent, everything else is asked on. And the proxy's
//! own look-ups.

mod answer;
mod forward;
pub mod lookup;
pub mod server;
mod table;

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use weft_base::shutdown::Shutdown;

pub use self::table::{Entry, NameTable};

/// Where the table of the moment is found.
pub type NameHandle = Arc<ArcSwap<NameTable>>;

/// Where the pod's DNS servers are written.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// What is answered to a query over UDP without asking anybody: bytes in, bytes out.
pub fn answered(query: &[u8], table: &NameTable) -> Option<Vec<u8>> {
    match answer::reply(query, table, &[], true, 0) {
        answer::Reply::Answer(bytes) => Some(bytes),
        answer::Reply::Forward | answer::Reply::Drop => None,
    }
}

/// Serves on the addresses, if there are any, from a table that is empty at first.
pub async fn start(addresses: &[SocketAddr], shutdown: &Shutdown) -> std::io::Result<Option<NameHandle>> {
    if addresses.is_empty() {
        return Ok(None);
    }
    let names = NameHandle::default();
    let resolver = server::Resolver::parse(&std::fs::read_to_string(RESOLV_CONF)?);
    server::serve(addresses, names.clone(), resolver, shutdown).await?;
    Ok(Some(names))
}
