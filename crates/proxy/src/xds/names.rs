//! The table of names as it comes over the wire.

use prost::Message;
use weft_proto::names as wire;

use crate::dns::{Entry, NameTable};

/// Reads a table; the error names the first address that is none.
pub(super) fn table(bytes: &[u8]) -> Result<NameTable, String> {
    let source = wire::NameTable::decode(bytes).map_err(|error| error.to_string())?;
    let mut entries = Vec::with_capacity(source.table.len());
    for (name, info) in source.table {
        let address = |ip: &String| {
            ip.parse()
                .map_err(|_| format!("table[{name:?}].ips: {ip:?} is not an IP address"))
        };
        let addresses = info.ips.iter().map(address).collect::<Result<_, _>>()?;
        let short = (!info.shortname.is_empty()).then_some((info.shortname, info.namespace));
        entries.push(Entry { name, addresses, short });
    }
    Ok(NameTable::new(entries))
}
