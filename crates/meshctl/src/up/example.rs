//! A request to try a mesh with: one that a route of a gateway answers, else one to a service through a sidecar.

use weft_api::local_mesh::DataPlane;
use weft_api::matching::StringMatch;
use weft_api::protocol::Protocol;
use weft_api::virtual_service::{HttpMatch, HttpRoute};
use weft_mesh::snapshot::{GatewayRef, MeshService, MeshSnapshot, MeshVirtualService, ServiceKind};

use crate::up::commands::local;
use crate::up::plan::{Member, Role};

/// The command line of a request that gets an answer; nothing where the objects promise none.
pub(crate) fn request(snapshot: &MeshSnapshot, members: &[Member]) -> Option<String> {
    members
        .iter()
        .find_map(|member| to_gateway(snapshot, member))
        .or_else(|| members.iter().find_map(|member| through_sidecar(snapshot, member)))
}

/// A request to a port of a gateway that speaks plain HTTP.
fn to_gateway(snapshot: &MeshSnapshot, member: &Member) -> Option<String> {
    let Role::Gateway { ports } = &member.role else {
        return None;
    };
    for object in snapshot.gateways.for_workload(&member.labels) {
        let here = GatewayRef::Named {
            namespace: object.meta.namespace.clone(),
            name: object.meta.name.clone(),
        };
        for server in object.spec.servers.iter().filter(|server| server.tls.is_none()) {
            let Some(port) = ports.iter().find(|port| port.server == server.port) else {
                continue;
            };
            let mut rules = snapshot
                .virtual_services
                .iter()
                .filter(|rule| rule.gateways.contains(&here));
            if let Some((host, path)) = rules.find_map(|rule| Some((rule.hosts.first()?.clone(), path_of(rule)?))) {
                let host = match host.strip_prefix('*') {
                    Some("") => String::new(),
                    Some(suffix) => format!("-H 'Host: www{suffix}' "),
                    None => format!("-H 'Host: {host}' "),
                };
                return Some(format!("curl {host}http://{}{path}", local(port.local)));
            }
        }
    }
    None
}

/// A request to a service that has endpoints, as a program of the mesh makes it.
fn through_sidecar(snapshot: &MeshSnapshot, member: &Member) -> Option<String> {
    let workload = member.workload().filter(|_| member.data_plane == DataPlane::Weft)?;
    let mut services = snapshot.services.visible_from(&member.namespace);
    services.find_map(|service| {
        let port = http_port(snapshot, service)?;
        let host = match (*service.key.namespace == *member.namespace, service.kind) {
            (true, ServiceKind::Kubernetes) => &service.name,
            _ => &service.key.hostname,
        };
        let port = if port == 80 { String::new() } else { format!(":{port}") };
        let mut rules = snapshot
            .virtual_services
            .iter()
            .filter(|rule| rule.gateways.contains(&GatewayRef::Mesh) && rule.hosts.contains(&service.key.hostname));
        let path = match rules.next() {
            Some(rule) => path_of(rule)?,
            None => "/".to_owned(),
        };
        Some(format!(
            "curl -x http://{} http://{host}{port}{path}",
            local(workload.outbound)
        ))
    })
}

/// A port of a service that speaks HTTP and that a workload stands behind.
fn http_port(snapshot: &MeshSnapshot, service: &MeshService) -> Option<u16> {
    let ready = snapshot.endpoints.of(&service.key)?;
    let mut ports = service.ports.iter();
    let port = ports.find(|port| port.protocol == Protocol::Http && !ready.port(port.port).is_empty());
    port.filter(|_| !service.is_wildcard()).map(|port| port.port)
}

/// A path that a rule answers to a plain GET.
fn path_of(rule: &MeshVirtualService) -> Option<String> {
    let aborts = |route: &&HttpRoute| route.fault.as_ref().is_some_and(|fault| fault.abort.is_some());
    let mut routes = rule.object.spec.http.iter().filter(|route| !aborts(route));
    routes.find_map(|route| {
        if route.matches.is_empty() {
            return Some("/".to_owned());
        }
        route.matches.iter().find_map(path_of_match)
    })
}

/// Nothing where more than the path is asked for, or only an expression says which.
fn path_of_match(found: &HttpMatch) -> Option<String> {
    let HttpMatch {
        at: _,
        name: _,
        uri,
        scheme,
        method,
        authority,
        headers,
        without_headers: _,
        query_params,
        port,
        source_labels,
        source_namespace,
        gateways,
        ignore_uri_case: _,
        never,
    } = found;
    let asks_for_more = scheme.is_some()
        || method.is_some()
        || authority.is_some()
        || !headers.is_empty()
        || !query_params.is_empty()
        || port.is_some()
        || !source_labels.is_empty()
        || source_namespace.is_some()
        || !gateways.is_empty()
        || *never;
    match uri {
        _ if asks_for_more => None,
        None => Some("/".to_owned()),
        Some(StringMatch::Exact(path) | StringMatch::Prefix(path)) => Some(path.clone()),
        Some(StringMatch::Regex(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weft_mesh::snapshot::{Inputs, MeshSettings, build};

    use super::*;
    use crate::up::plan::{GatewayPort, Workload, WorkloadPort};
    use crate::up::registry;

    fn member(name: &str, labels: &[(&str, &str)], role: Role) -> Member {
        Member {
            name: name.to_owned(),
            namespace: "default".to_owned(),
            workload: name.to_owned(),
            service_account: "default".to_owned(),
            labels: labels
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            data_plane: DataPlane::Weft,
            admin: 1,
            status: 2,
            readiness: 3,
            role,
        }
    }

    fn members() -> [Member; 2] {
        let workload = Workload {
            outbound: 41_002,
            ports: vec![WorkloadPort {
                name: "http".to_owned(),
                declared: 0,
                app: 41_000,
                mesh: 41_001,
            }],
            program: std::path::PathBuf::new(),
            args: Vec::new(),
            env: std::collections::BTreeMap::new(),
            directory: std::path::PathBuf::new(),
            probes: Vec::new(),
            period: std::time::Duration::ZERO,
        };
        let ports = vec![GatewayPort {
            server: 80,
            local: 18_080,
        }];
        [
            member("web", &[("app", "web")], Role::Workload(workload)),
            member("ingress", &[("istio", "ingressgateway")], Role::Gateway { ports }),
        ]
    }

    #[track_caller]
    fn check(objects: &str, expected: Option<&str>) {
        let mut inputs = Inputs::default();
        let mut texts = vec![objects.to_owned()];
        texts.extend(members().iter().map(|member| registry::text(member, true).unwrap()));
        for text in texts {
            let parsed = weft_api::parse::parse("a.yaml", &text);
            assert_eq!(parsed.diagnostics, []);
            for resource in &parsed.resources {
                inputs.apply(resource);
            }
        }
        let snapshot = build(inputs, &Arc::new(MeshSettings::default()), 1, None);
        assert_eq!(request(&snapshot, &members()).as_deref(), expected, "{objects}");
    }

    #[test]
    fn a_request_is_one_that_gets_an_answer() {
        let service = "---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\n\
                       spec: {selector: {app: web}, ports: [{name: http, port: 80}]}\n";
        let gateway = "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: edge}\n\
                       spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: \
                       HTTP}, hosts: ['*']}]}\n";
        let rule = |host: &str, gateway: &str, matches: &str| {
            format!(
                "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: web}}\nspec:\n  \
                 hosts: ['{host}']\n  gateways: [{gateway}]\n  http:\n  \
                 - {{{matches}route: [{{destination: {{host: web.default.svc.cluster.local}}}}]}}\n"
            )
        };
        let with = |parts: &[&str]| parts.concat();
        check("", None);
        check(service, Some("curl -x http://127.0.0.1:41002 http://web/"));
        let any = rule("*", "edge", "");
        check(&with(&[service, gateway, &any]), Some("curl http://127.0.0.1:18080/"));
        let path = rule(
            "*",
            "edge",
            "match: [{uri: {regex: /x.*}}, {method: {exact: PUT}}, {uri: {prefix: /call}}], ",
        );
        check(
            &with(&[service, gateway, &path]),
            Some("curl http://127.0.0.1:18080/call"),
        );
        let host = rule("*.example.com", "edge", "match: [{uri: {exact: /a}}], ");
        let expected = "curl -H 'Host: www.example.com' http://127.0.0.1:18080/a";
        check(&with(&[service, gateway, &host]), Some(expected));
        // Without a route at the gateway there is still the sidecar, and a rule of its service may want a path.
        let inside = rule(
            "web.default.svc.cluster.local",
            "mesh",
            "match: [{uri: {prefix: /v1/}}], ",
        );
        check(
            &with(&[service, gateway, &inside]),
            Some("curl -x http://127.0.0.1:41002 http://web/v1/"),
        );
    }
}
