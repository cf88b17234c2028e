//! The sides of the mesh on which a proxy serves.

/// Which side of the mesh a connection manager serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Towards the workload.
    Inbound,
    /// From the workload.
    Outbound,
    Gateway,
}
