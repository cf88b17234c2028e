//! The table: one row a kind, the fields of which are [`KindFacts`]. It makes [`Kind`].

use serde::{Deserialize, Serialize};

use super::Definition::{Others, Ours};
use super::Group::{Core, Discovery, GatewayApi, Networking, Security, Telemetry, Weft};
use super::KindFacts;
use super::Scope::{Cluster, Namespaced};
use super::Status::{NotOurs, Written};
use super::Watch::{All, NamedByGateways, Never, One};
use super::WhenBroken::{Closes, Nothing};
use crate::{mesh_config, stand_in};

const V1: &[&str] = &["v1"];
const V1_BETA1: &[&str] = &["v1", "v1beta1"];
const V1_BETA1_ALPHA3: &[&str] = &["v1", "v1beta1", "v1alpha3"];
const V1_ALPHA1: &[&str] = &["v1", "v1alpha1"];
const V1_ALPHA2: &[&str] = &["v1", "v1alpha2"];
const V1_ALPHA3_ALPHA2: &[&str] = &["v1", "v1alpha3", "v1alpha2"];
const ALPHA1: &[&str] = &["v1alpha1"];

/// Kinds of Istio's groups that are known and not read: group and name. They are passed over with a warning.
pub const UNREAD: &[(&str, &str)] = &[
    ("networking.istio.io", "EnvoyFilter"),
    ("networking.istio.io", "WorkloadGroup"),
    ("networking.istio.io", "ProxyConfig"),
    ("extensions.istio.io", "WasmPlugin"),
    ("extensions.istio.io", "TrafficExtension"),
];

/// Declares the kinds, the list of all and what is known of each, so that none falls behind the others.
macro_rules! kinds {
    ($($kind:ident => $facts:expr,)*) => {
        /// The kinds that this mesh reads, in the order in which their objects are listed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[expect(missing_docs, reason = "the table says what each is")]
        pub enum Kind {
            $($kind,)*
        }

        impl Kind {
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// What is known of the kind.
            pub const fn facts(self) -> &'static KindFacts {
                match self {
                    $(Self::$kind => &$facts,)*
                }
            }
        }
    };
}

kinds! {
    Service => KindFacts {
        name: "Service", plural: "services", group: Core, versions: V1,
        scope: Namespaced, watch: All, status: NotOurs, when_broken: Nothing,
        definition: Others, purpose: "services",
    },
    Secret => KindFacts {
        name: "Secret", plural: "secrets", group: Core, versions: V1,
        scope: Namespaced, watch: NamedByGateways, status: NotOurs, when_broken: Nothing,
        definition: Others, purpose: "certificates of gateways, and the authorities of their clients",
    },
    Pod => KindFacts {
        name: "Pod", plural: "pods", group: Core, versions: V1,
        scope: Namespaced, watch: All, status: NotOurs, when_broken: Nothing,
        definition: Others, purpose: "workloads",
    },
    Node => KindFacts {
        name: "Node", plural: "nodes", group: Core, versions: V1,
        scope: Cluster, watch: All, status: NotOurs, when_broken: Nothing,
        definition: Others, purpose: "locality",
    },
    Namespace => KindFacts {
        name: "Namespace", plural: "namespaces", group: Core, versions: V1,
        scope: Cluster, watch: All, status: NotOurs, when_broken: Nothing,
        definition: Others, purpose: "who takes part in the mesh",
    },
    EndpointSlice => KindFacts {
        name: "EndpointSlice", plural: "endpointslices", group: Discovery, versions: V1,
        scope: Namespaced, watch: All, status: NotOurs, when_broken: Nothing,
        definition: Others, purpose: "endpoints",
    },
    VirtualService => KindFacts {
        name: "VirtualService", plural: "virtualservices", group: Networking, versions: V1_BETA1_ALPHA3,
        scope: Namespaced, watch: All, status: Written, when_broken: Nothing,
        definition: Ours {
            short: &["vs"], columns: Some(&[("Gateways", ".spec.gateways"), ("Hosts", ".spec.hosts")]),
        },
        purpose: "traffic",
    },
    DestinationRule => KindFacts {
        name: "DestinationRule", plural: "destinationrules", group: Networking, versions: V1_BETA1_ALPHA3,
        scope: Namespaced, watch: All, status: Written, when_broken: Nothing,
        definition: Ours { short: &["dr"], columns: Some(&[("Host", ".spec.host")]) },
        purpose: "traffic",
    },
    ServiceEntry => KindFacts {
        name: "ServiceEntry", plural: "serviceentries", group: Networking, versions: V1_BETA1_ALPHA3,
        scope: Namespaced, watch: All, status: Written, when_broken: Nothing,
        definition: Ours {
            short: &["se"],
            columns: Some(&[
                ("Hosts", ".spec.hosts"), ("Location", ".spec.location"), ("Resolution", ".spec.resolution"),
            ]),
        },
        purpose: "services that nobody else announces",
    },
    WorkloadEntry => KindFacts {
        name: "WorkloadEntry", plural: "workloadentries", group: Networking, versions: V1_BETA1_ALPHA3,
        scope: Namespaced, watch: All, status: Written, when_broken: Nothing,
        definition: Ours { short: &["we"], columns: Some(&[("Address", ".spec.address")]) },
        purpose: "endpoints that nobody else announces",
    },
    Gateway => KindFacts {
        name: "Gateway", plural: "gateways", group: Networking, versions: V1_BETA1_ALPHA3,
        scope: Namespaced, watch: All, status: Written, when_broken: Nothing,
        definition: Ours { short: &["gw"], columns: None },
        purpose: "traffic at the edge",
    },
    Sidecar => KindFacts {
        name: "Sidecar", plural: "sidecars", group: Networking, versions: V1_BETA1_ALPHA3,
        scope: Namespaced, watch: All, status: Written, when_broken: Nothing,
        definition: Ours { short: &[], columns: None },
        purpose: "what proxies see",
    },
    PeerAuthentication => KindFacts {
        name: "PeerAuthentication", plural: "peerauthentications", group: Security, versions: V1_BETA1,
        scope: Namespaced, watch: All, status: Written, when_broken: Closes(&stand_in::PEER_AUTHENTICATION),
        definition: Ours { short: &["pa"], columns: Some(&[("Mode", ".spec.mtls.mode")]) },
        purpose: "security",
    },
    AuthorizationPolicy => KindFacts {
        name: "AuthorizationPolicy", plural: "authorizationpolicies", group: Security, versions: V1_BETA1,
        scope: Namespaced, watch: All, status: Written, when_broken: Closes(&stand_in::AUTHORIZATION_POLICY),
        definition: Ours { short: &["ap"], columns: Some(&[("Action", ".spec.action")]) },
        purpose: "security",
    },
    RequestAuthentication => KindFacts {
        name: "RequestAuthentication", plural: "requestauthentications", group: Security, versions: V1_BETA1,
        scope: Namespaced, watch: All, status: Written, when_broken: Closes(&stand_in::REQUEST_AUTHENTICATION),
        definition: Ours { short: &["ra"], columns: None },
        purpose: "security",
    },
    Telemetry => KindFacts {
        name: "Telemetry", plural: "telemetries", group: Telemetry, versions: V1_ALPHA1,
        scope: Namespaced, watch: All, status: Written, when_broken: Nothing,
        definition: Ours { short: &["telemetry"], columns: Some(&[]) },
        purpose: "reported; without effect",
    },
    ConfigMap => KindFacts {
        name: "ConfigMap", plural: "configmaps", group: Core, versions: V1,
        scope: Namespaced, watch: One(mesh_config::NAME), status: NotOurs, when_broken: Nothing,
        definition: Others, purpose: "mesh-wide settings",
    },
    GatewayClass => KindFacts {
        name: "GatewayClass", plural: "gatewayclasses", group: GatewayApi, versions: V1_BETA1,
        scope: Cluster, watch: All, status: NotOurs, when_broken: Nothing,
        definition: Others, purpose: "reported; without effect",
    },
    KubernetesGateway => KindFacts {
        name: "Gateway", plural: "gateways", group: GatewayApi, versions: V1_BETA1,
        scope: Namespaced, watch: All, status: NotOurs, when_broken: Nothing,
        definition: Others, purpose: "reported; without effect",
    },
    HttpRoute => KindFacts {
        name: "HTTPRoute", plural: "httproutes", group: GatewayApi, versions: V1_BETA1,
        scope: Namespaced, watch: All, status: NotOurs, when_broken: Nothing,
        definition: Others, purpose: "reported; without effect",
    },
    GrpcRoute => KindFacts {
        name: "GRPCRoute", plural: "grpcroutes", group: GatewayApi, versions: V1_ALPHA2,
        scope: Namespaced, watch: All, status: NotOurs, when_broken: Nothing,
        definition: Others, purpose: "reported; without effect",
    },
    TlsRoute => KindFacts {
        name: "TLSRoute", plural: "tlsroutes", group: GatewayApi, versions: V1_ALPHA3_ALPHA2,
        scope: Namespaced, watch: All, status: NotOurs, when_broken: Nothing,
        definition: Others, purpose: "reported; without effect",
    },
    TcpRoute => KindFacts {
        name: "TCPRoute", plural: "tcproutes", group: GatewayApi, versions: V1_ALPHA2,
        scope: Namespaced, watch: All, status: NotOurs, when_broken: Nothing,
        definition: Others, purpose: "reported; without effect",
    },
    ReferenceGrant => KindFacts {
        name: "ReferenceGrant", plural: "referencegrants", group: GatewayApi, versions: V1_BETA1,
        scope: Namespaced, watch: All, status: NotOurs, when_broken: Nothing,
        definition: Others, purpose: "reported; without effect",
    },
    LocalWorkload => KindFacts {
        name: "LocalWorkload", plural: "localworkloads", group: Weft, versions: ALPHA1,
        scope: Namespaced, watch: Never, status: NotOurs, when_broken: Nothing,
        definition: Others, purpose: "workloads of a machine",
    },
    LocalMesh => KindFacts {
        name: "LocalMesh", plural: "localmeshes", group: Weft, versions: ALPHA1,
        scope: Namespaced, watch: Never, status: NotOurs, when_broken: Nothing,
        definition: Others, purpose: "a mesh of a machine, for `meshctl up`",
    },
}
