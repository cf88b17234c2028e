//! Gateway API objects: read, but not carried out yet. Those of the mesh's own classes say so.

use std::collections::BTreeSet;
use std::sync::Arc;

use weft_api::diagnostic::{Diagnostic, Severity, code};
use weft_api::gateway_api::{CONTROLLER, Reference, Route};
use weft_api::meta::{Kind, Object};

use super::Subject;
use crate::snapshot::MeshSnapshot;

/// Classes that are the mesh's even where no GatewayClass object says so.
const CLASSES: [&str; 2] = ["istio", "weft"];

pub(super) fn check(snapshot: &MeshSnapshot, found: &mut Vec<Diagnostic>) {
    let inputs = &snapshot.inputs;
    let ours = |class: &str| {
        let object = inputs.gateway_classes.get(&("".into(), class.into()));
        object.map_or_else(
            || CLASSES.contains(&class),
            |object| object.spec.controller == CONTROLLER,
        )
    };
    let mut of_others = BTreeSet::new();
    for (name, object) in inputs.kubernetes_gateways.iter() {
        if !ours(&object.spec.class) {
            of_others.insert(name.clone());
        } else {
            found.push(not_yet(
                Kind::KubernetesGateway,
                object,
                "use a Gateway of networking.istio.io",
            ));
        }
    }
    // A route hangs on one of the mesh's Gateways, or on a Service, which only a mesh can mean. A Gateway that is not there is
    // nobody's, so nobody else carries the route out.
    let concerns = |namespace: &Arc<str>, parent: &Reference| match parent.kind.as_str() {
        "Gateway" => {
            let own = || Arc::clone(namespace);
            let namespace = parent.namespace.as_deref().map_or_else(own, Into::into);
            !of_others.contains(&(namespace, parent.name.as_str().into()))
        }
        kind => kind == "Service",
    };
    for (kind, routes) in [
        (Kind::HttpRoute, &inputs.http_routes),
        (Kind::GrpcRoute, &inputs.grpc_routes),
        (Kind::TlsRoute, &inputs.tls_routes),
        (Kind::TcpRoute, &inputs.tcp_routes),
    ] {
        let ours = |object: &&Arc<Object<Route>>| {
            let mut parents = object.spec.parents.iter();
            parents.any(|parent| concerns(&object.meta.namespace, parent))
        };
        for object in routes.values().filter(ours) {
            found.push(not_yet(kind, object, "use a VirtualService"));
        }
    }
}

fn not_yet<T>(kind: Kind, object: &Arc<Object<T>>, hint: &str) -> Diagnostic {
    Subject::new(kind, object, "", object.place.clone()).finding(
        Severity::Warning,
        code::UNHANDLED_KIND,
        "is not carried out by this mesh yet and has no effect",
        hint,
    )
}
