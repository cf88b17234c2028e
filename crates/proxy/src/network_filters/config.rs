//! The network filters of a filter chain as configured and checked: what stands before `http_connection_manager` or `tcp_proxy`.
//!
//! This file and the `config.rs` of each filter are modules of `crate::model`; the other files of a filter's folder, which know
//! connections, are modules of `crate::network_filters`.

use weft_proto::xds::google::protobuf::Any;

use super::convert::{Path, Result};

#[path = "istio_stats/config.rs"]
pub mod istio_stats;
#[path = "rbac/config.rs"]
pub mod rbac;
#[path = "set_filter_state/config.rs"]
pub mod set_filter_state;

/// Every filter: a variant and its module, which has `Config`, `read` and `not_before_http`. The reader gives `None` for an `Any` of
/// another type.
macro_rules! table {
    ($($(#[$doc:meta])* $kind:ident($module:ident)),* $(,)?) => {
        /// What a filter is told.
        #[derive(Clone, Debug)]
        pub enum NetworkFilterConfig {
            $($(#[$doc])* $kind($module::Config),)*
        }

        /// Reads what a filter is told; `None` where nobody knows the type.
        pub(in crate::model) fn read(any: &Any, at: &Path) -> Result<Option<NetworkFilterConfig>> {
            $(if let Some(config) = $module::read(any, at)? {
                return Ok(Some(NetworkFilterConfig::$kind(config)));
            })*
            Ok(None)
        }

        impl NetworkFilterConfig {
            /// Why it may not stand before a connection manager, where that is so.
            pub(in crate::model) fn not_before_http(&self) -> Option<&'static str> {
                match self {
                    $(Self::$kind(config) => $module::not_before_http(config),)*
                }
            }
        }
    };
}

table! {
    /// Istio's standard metrics.
    IstioStats(istio_stats),
    /// Rules of access.
    Rbac(rbac),
    /// Filter state from formats.
    SetFilterState(set_filter_state),
}
