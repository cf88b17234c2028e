//! Capture (`weft-proxy init`): rules of the kernel that send a pod's traffic through the proxy beside it.
//!
//! Flags become a checked [`plan::Plan`], the plan becomes the text of one transaction ([`nft`] or [`iptables`], pure functions),
//! and only [`apply`] touches the machine. The text is for the programs `nft`, or `iptables-save`, `iptables-restore` and their
//! `ip6tables` twins: the image that runs `init` must hold one of the two sets (docs/decisions/0040).

pub mod apply;
pub mod iptables;
mod loopback;
pub mod nft;
pub mod options;
pub mod plan;
