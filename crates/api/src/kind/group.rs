//! API groups, and who looks at their objects when a server admits them.

/// An API group of kinds that are read, in the order of their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Kubernetes' core, whose name is empty.
    Core,
    Discovery,
    /// The Gateway API.
    GatewayApi,
    Networking,
    Security,
    Telemetry,
    /// This mesh's own, for files.
    Weft,
}

/// What the webhook does with an object that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is not asked.
    Unasked,
    /// It refuses it.
    Refused,
    /// It warns, since another controller may carry the object out: a mesh that is down or knows better must not stop its users.
    Warned,
}

/// Whether a group is Istio's or this mesh's, so that nobody else reads its kinds.
pub fn is_of_the_mesh(group: &str) -> bool {
    group.ends_with("istio.io") || group == Group::Weft.name()
}

// === impl Group ===

impl Group {
    /// The name in `apiVersion`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Core => "",
            Self::Discovery => "discovery.k8s.io",
            Self::GatewayApi => "gateway.networking.k8s.io",
            Self::Networking => "networking.istio.io",
            Self::Security => "security.istio.io",
            Self::Telemetry => "telemetry.istio.io",
            Self::Weft => "weft.mesh",
        }
    }

    /// What the webhook does with the group's objects. Its rule is for all kinds of the group, also those that are not read: nobody
    /// should take them for carried out.
    pub const fn admission(self) -> Admission {
        match self {
            Self::Core | Self::Discovery | Self::Weft => Admission::Unasked,
            Self::Networking | Self::Security | Self::Telemetry => Admission::Refused,
            Self::GatewayApi => Admission::Warned,
        }
    }
}
