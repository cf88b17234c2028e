//! Virtual hosts of services: the names under which clients know them, and where requests for those go.

use std::collections::BTreeSet;
use std::sync::Arc;

use weft_proto::xds::envoy::config::route::v3 as route;

use super::route::{Scope, of_rules, to_service, virtual_host};
use crate::snapshot::{GatewayRef, MeshService, Protocol, ServicePort};
use crate::view::ProxyView;

/// Whether a host takes what no other does.
pub(super) fn takes_all(hosts: &[route::VirtualHost]) -> bool {
    hosts.iter().any(|host| host.domains.iter().any(|domain| domain == "*"))
}

/// The hosts of the wanted service ports. `dialled` is the port that clients have dialled already, so that hosts are known by
/// their names alone.
pub(super) fn virtual_hosts(
    view: &ProxyView,
    wanted: impl Fn(&MeshService, &ServicePort) -> bool,
    dialled: Option<u16>,
) -> Vec<route::VirtualHost> {
    let mut taken = BTreeSet::new();
    let mut hosts = Vec::new();
    let mesh = GatewayRef::Mesh;
    let services = view.services();
    for service in &services {
        for port in service
            .ports
            .iter()
            .filter(|port| is_http(port) && wanted(service, port))
        {
            let scope = Scope {
                view,
                gateway: &mesh,
                port: port.port,
            };
            let meant = meant(&services, service, port.port);
            let routes = routes_of(scope, service, meant);
            let name = format!("{}:{}", service.key.hostname, port.port);
            let domains = match dialled {
                Some(_) => dialled_names(view, service),
                None => domains(view, service, port.port),
            };
            add_host(name, domains, routes, &mut taken, &mut hosts);
        }
    }
    if dialled.is_some_and(|port| port != 80) {
        return hosts;
    }
    // Hosts that only a VirtualService knows.
    let known = view.snapshot.virtual_services.of_gateway(&mesh, view.namespace());
    for (host, rules) in known.filter(|(_, rules)| view.imports(rules)) {
        let scope = Scope {
            view,
            gateway: &mesh,
            port: 80,
        };
        let names = vec![host.to_string(), format!("{host}:80")];
        add_host(
            format!("{host}:80"),
            names,
            of_rules(scope, rules),
            &mut taken,
            &mut hosts,
        );
    }
    hosts
}

/// The routes of a service's port: of the first rules that hold here at all, else everything to the service that is `meant`, as if there
/// were no rules (Istio: `buildSidecarVirtualHostsForVirtualService`). Requests that none of some routes fits get 404.
pub(super) fn routes_of(scope: Scope<'_>, service: &MeshService, meant: &MeshService) -> Vec<route::Route> {
    let ruled = |service: &MeshService| {
        let rules = scope.view.rules_of(&service.key.hostname);
        let mut routes = rules.into_iter().map(|rules| of_rules(scope, rules));
        routes.find(|routes| !routes.is_empty())
    };
    let is_alias = !std::ptr::eq(service, meant);
    let routes = ruled(service).or_else(|| is_alias.then(|| ruled(meant)).flatten());
    routes.unwrap_or_else(|| vec![to_service(meant, scope.port)])
}

/// The service that an ExternalName stands for, where it is one of the mesh that this proxy sees and serves HTTP on the port; else the
/// service itself.
fn meant<'a>(services: &'a [&'a Arc<MeshService>], service: &'a MeshService, port: u16) -> &'a MeshService {
    let target = service.alias_of.as_ref().and_then(|host| {
        let visible = services.iter().find(|known| known.key.hostname == *host)?;
        let served = visible.ports.iter().any(|known| known.port == port && is_http(known));
        served.then_some(visible.as_ref())
    });
    target.unwrap_or(service)
}

/// Adds a host with those of its domains that no other has yet.
pub(super) fn add_host(
    name: String,
    domains: Vec<String>,
    routes: Vec<route::Route>,
    taken: &mut BTreeSet<String>,
    hosts: &mut Vec<route::VirtualHost>,
) {
    if routes.is_empty() {
        return;
    }
    let domains: Vec<String> = domains
        .into_iter()
        .filter(|domain| taken.insert(domain.clone()))
        .collect();
    if !domains.is_empty() {
        hosts.push(virtual_host(name, domains, routes));
    }
}

/// Through an HTTP proxy everything is HTTP, so a port of unknown protocol is offered too.
fn is_http(port: &ServicePort) -> bool {
    port.protocol.is_http() || port.protocol == Protocol::Auto
}

/// All names of a service's port as its clients may write them, without a port for port 80.
fn domains(view: &ProxyView, service: &MeshService, port: u16) -> Vec<String> {
    let names = aliases(view, service);
    let mut domains = Vec::with_capacity(names.len() * 2);
    for name in names {
        if port == 80 {
            domains.push(name.clone());
        }
        domains.push(format!("{name}:{port}"));
    }
    domains
}

/// All names of a service whose port was dialled: without the port, with those of single pods, IPv6 addresses in brackets.
fn dialled_names(view: &ProxyView, service: &MeshService) -> Vec<String> {
    let names = aliases(view, service);
    let bracketed = |name: String| if name.contains(':') { format!("[{name}]") } else { name };
    let mut names: Vec<String> = names.into_iter().map(bracketed).collect();
    if service.headless {
        let pods: Vec<String> = names.iter().map(|name| format!("*.{name}")).collect();
        names.extend(pods);
    }
    names
}

/// All names of a service as its clients may write them: absolute, short within the namespace, and its addresses.
pub(super) fn aliases(view: &ProxyView, service: &MeshService) -> Vec<String> {
    let hostname = &*service.key.hostname;
    let mut names = vec![hostname.to_owned()];
    // The same name, absolute (Istio: `PILOT_ENABLE_ABSOLUTE_FQDN_VHOST_DOMAIN`).
    if hostname != "*" && hostname.parse::<std::net::IpAddr>().is_err() {
        names.push(format!("{hostname}."));
    }
    let suffix = format!(".{}.svc.{}", service.key.namespace, view.snapshot.settings.domain);
    if let Some(short) = hostname.strip_suffix(&suffix) {
        let namespace = &service.key.namespace;
        if **namespace == *view.namespace() {
            names.push(short.to_owned());
        }
        names.push(format!("{short}.{namespace}"));
        names.push(format!("{short}.{namespace}.svc"));
    }
    names.extend(
        service
            .addresses
            .iter()
            .filter(|address| !address.contains('/'))
            .cloned(),
    );
    names
}
