//! Response flags of the access log: a letter or two for each thing that can go wrong.

use std::fmt;

/// Response flags of the access log, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ResponseFlags(u32);

/// Short and long names by bit, Envoy's
/// (<https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage>).
const FLAG_NAMES: &[(&str, &str)] = &[
    ("UH", "NoHealthyUpstream"),
    ("UF", "UpstreamConnectionFailure"),
    ("UO", "UpstreamOverflow"),
    ("NR", "NoRouteFound"),
    ("URX", "UpstreamRetryLimitExceeded"),
    ("NC", "NoClusterFound"),
    ("DT", "DurationTimeout"),
    ("DC", "DownstreamConnectionTermination"),
    ("UT", "UpstreamRequestTimeout"),
    ("LR", "LocalReset"),
    ("UR", "UpstreamRemoteReset"),
    ("UC", "UpstreamConnectionTermination"),
    ("SI", "StreamIdleTimeout"),
    ("DPE", "DownstreamProtocolError"),
    ("UPE", "UpstreamProtocolError"),
    ("DI", "DelayInjected"),
    ("FI", "FaultInjected"),
    ("LH", "FailedLocalHealthCheck"),
    ("RL", "RateLimited"),
    ("DR", "DownstreamRemoteReset"),
    ("UAEX", "UnauthorizedExternalService"),
];

// === impl ResponseFlags ===

impl ResponseFlags {
    /// `UH`.
    pub const NO_HEALTHY_UPSTREAM: Self = Self(1);
    /// `UF`.
    pub const UPSTREAM_CONNECTION_FAILURE: Self = Self(1 << 1);
    /// `UO`.
    pub const UPSTREAM_OVERFLOW: Self = Self(1 << 2);
    /// `NR`.
    pub const NO_ROUTE_FOUND: Self = Self(1 << 3);
    /// `URX`.
    pub const RETRY_LIMIT_EXCEEDED: Self = Self(1 << 4);
    /// `NC`.
    pub const NO_CLUSTER_FOUND: Self = Self(1 << 5);
    /// `DT`.
    pub const DURATION_TIMEOUT: Self = Self(1 << 6);
    /// `DC`.
    pub const DOWNSTREAM_CONNECTION_TERMINATION: Self = Self(1 << 7);
    /// `UT`.
    pub const UPSTREAM_REQUEST_TIMEOUT: Self = Self(1 << 8);
    /// `LR`.
    pub const LOCAL_RESET: Self = Self(1 << 9);
    /// `UR`.
    pub const UPSTREAM_REMOTE_RESET: Self = Self(1 << 10);
    /// `UC`.
    pub const UPSTREAM_CONNECTION_TERMINATION: Self = Self(1 << 11);
    /// `SI`.
    pub const STREAM_IDLE_TIMEOUT: Self = Self(1 << 12);
    /// `DPE`.
    pub const DOWNSTREAM_PROTOCOL_ERROR: Self = Self(1 << 13);
    /// `UPE`.
    pub const UPSTREAM_PROTOCOL_ERROR: Self = Self(1 << 14);
    /// `DI`.
    pub const DELAY_INJECTED: Self = Self(1 << 15);
    /// `FI`.
    pub const FAULT_INJECTED: Self = Self(1 << 16);
    /// `LH`.
    pub const FAILED_LOCAL_HEALTH_CHECK: Self = Self(1 << 17);
    /// `RL`.
    pub const RATE_LIMITED: Self = Self(1 << 18);

    /// `DR`.
    pub const DOWNSTREAM_REMOTE_RESET: Self = Self(1 << 19);
    /// `UAEX`.
    pub const UNAUTHORIZED_EXTERNAL_SERVICE: Self = Self(1 << 20);

    /// Adds the flags of `other`.
    pub fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether every flag of `other` is set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether none is set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Short names of the flags set, in Envoy's order.
    pub fn short_names(self) -> impl Iterator<Item = &'static str> {
        self.names().map(|(short, _)| short)
    }

    /// Long names of the flags set, in Envoy's order.
    pub fn long_names(self) -> impl Iterator<Item = &'static str> {
        self.names().map(|(_, long)| long)
    }

    /// The flag of a short name.
    pub fn from_short_name(name: &str) -> Option<Self> {
        let bit = FLAG_NAMES.iter().position(|(short, _)| *short == name)?;
        Some(Self(1 << bit))
    }

    fn names(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        FLAG_NAMES
            .iter()
            .enumerate()
            .filter(move |(bit, _)| self.0 & (1 << bit) != 0)
            .map(|(_, names)| *names)
    }
}

impl fmt::Display for ResponseFlags {
    /// Short names joined by commas, `-` where none is set.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("-");
        }
        for (index, name) in self.short_names().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_print_in_order_and_read_back() {
        let mut flags = ResponseFlags::default();
        assert_eq!(flags.to_string(), "-");
        flags.insert(ResponseFlags::UPSTREAM_CONNECTION_FAILURE);
        flags.insert(ResponseFlags::RETRY_LIMIT_EXCEEDED);
        assert_eq!(flags.to_string(), "UF,URX");
        for (short, _) in FLAG_NAMES {
            let flag = ResponseFlags::from_short_name(short).unwrap();
            assert_eq!(flag.to_string(), *short);
        }
    }
}
