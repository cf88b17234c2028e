//! What proxies ask a snapshot: visibility, precedence, endpoints, mTLS.

use weft_api::meta::Labels;
use weft_api::peer_authentication::MtlsMode;
use weft_api::protocol::Protocol;
use weft_mesh::snapshot::{GatewayRef, MeshSnapshot, MeshVirtualService};

use super::{service, snapshot, workload};

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

#[test]
fn services_are_seen_where_they_are_exported() {
    let entry = |namespace: &str, export: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
             metadata: {{name: e, namespace: {namespace}}}\n\
             spec: {{hosts: [api.example.com], exportTo: [{export}], ports: [{{number: 80, name: http}}], resolution: \
             DNS}}\n"
        )
    };
    let wild = "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: wild}\n\
                spec: {hosts: ['*.example.com', '*.com'], ports: [{number: 80, name: http}]}\n";
    let snapshot = snapshot(&format!("{}{}{wild}", entry("a", "'*'"), entry("b", "'.'")));
    for (host, client, expected) in [
        ("api.example.com", "a", Some(("api.example.com", "a"))),
        ("api.example.com", "b", Some(("api.example.com", "b"))),
        ("api.example.com", "c", Some(("api.example.com", "a"))),
        ("x.example.com", "c", Some(("*.example.com", "default"))),
        ("x.y.com", "c", Some(("*.com", "default"))),
        ("x.org", "c", None),
    ] {
        let found = snapshot.services.lookup(host, client);
        let found = found.map(|service| (&*service.key.hostname, &*service.key.namespace));
        assert_eq!(found, expected, "{host} from {client}");
    }
    let seen: Vec<_> = snapshot
        .services
        .visible_from("c")
        .map(|service| (&*service.key.hostname, &*service.key.namespace))
        .collect();
    assert_eq!(
        seen,
        [
            ("*.com", "default"),
            ("*.example.com", "default"),
            ("api.example.com", "a")
        ]
    );
}

#[test]
fn ready_workloads_are_endpoints_and_all_give_identities() {
    let snapshot = snapshot(&format!(
        "{}{}{}{}",
        service("callme", "default"),
        workload("callme", "v1", "default", 41000, true),
        workload("callme", "v2", "default", 41010, false),
        workload("callme", "v1", "elsewhere", 41020, true),
    ));
    let service = snapshot
        .services
        .exact("callme.default.svc.cluster.local", "default")
        .unwrap();
    let ports = |found: &weft_mesh::snapshot::PortEndpoints| -> Vec<u16> {
        found.port(80).iter().map(|endpoint| endpoint.port).collect()
    };
    assert_eq!(ports(snapshot.endpoints.of(&service.key).unwrap()), [41001]);
    let all = snapshot.backends.of(&service.key).unwrap();
    assert_eq!(ports(all), [41001, 41011]);
    let v2 = labels(&[("version", "v2")]);
    assert_eq!(all.subset(80, &v2).count(), 1);
    let endpoint = &all.port(80)[0];
    assert!(endpoint.mtls);
    assert_eq!(
        endpoint.workload_metadata(),
        "callme-v1;default;callme;v1;Kubernetes;callme;v1"
    );
    let identities = snapshot.backends.identities(&service.key, 80, "cluster.local");
    assert_eq!(
        identities.into_iter().collect::<Vec<_>>(),
        ["spiffe://cluster.local/ns/default/sa/callme"]
    );
    let workload = snapshot.workloads.get("default", "callme-v1-0").unwrap();
    let inbound = snapshot.inbound.of(&workload.key);
    assert_eq!(inbound.len(), 1);
    assert_eq!(
        (inbound[0].app_port, inbound[0].mesh_port, inbound[0].protocol),
        (41000, 41001, Protocol::Http)
    );
    assert_eq!(inbound[0].services, [(service.key.clone(), 80)]);
}

#[test]
fn service_ports_find_their_workload_port() {
    let text = "apiVersion: weft.mesh/v1alpha1\nkind: LocalWorkload\nmetadata: {name: w, labels: {app: w}}\nspec:\n  \
                ready: true\n  ports:\n  - {name: web, declaredPort: 8080, appPort: 1, meshPort: 101}\n  \
                - {name: grpc, declaredPort: 9090, appPort: 2, meshPort: 102}\n---\napiVersion: v1\nkind: Service\n\
                metadata: {name: w}\nspec:\n  selector: {app: w}\n  ports:\n  \
                - {name: http-a, port: 80, targetPort: web}\n  - {name: grpc-b, port: 81, targetPort: 9090}\n  \
                - {name: grpc, port: 82}\n  - {name: http-d, port: 8080}\n";
    let snapshot = snapshot(text);
    let service = snapshot.services.iter().next().unwrap();
    let found = snapshot.backends.of(&service.key).unwrap();
    for (port, expected) in [(80, 101), (81, 102), (82, 102), (8080, 101)] {
        assert_eq!(found.port(port)[0].port, expected, "{port}");
    }
}

fn policies() -> MeshSnapshot {
    let policy = |name: &str, namespace: &str, spec: &str| {
        format!(
            "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
             metadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
        )
    };
    snapshot(&format!(
        "{}{}{}{}{}",
        policy("mesh", "istio-system", "{mtls: {mode: STRICT}}"),
        policy("open", "open", "{mtls: {mode: PERMISSIVE}}"),
        policy("unset", "unset", "{mtls: {mode: UNSET}}"),
        policy(
            "ports",
            "open",
            "{selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}, portLevelMtls: {8080: {mode: DISABLE}, 8081: {mode: UNSET}}}"
        ),
        policy(
            "later",
            "open",
            "{selector: {matchLabels: {app: a}}, mtls: {mode: DISABLE}}"
        ),
    ))
}

#[test]
fn the_narrowest_peer_authentication_wins_and_the_first_of_equals() {
    let snapshot = policies();
    for (namespace, app, port, expected) in [
        ("any", "a", 80, MtlsMode::Strict),
        ("unset", "a", 80, MtlsMode::Strict),
        ("open", "b", 80, MtlsMode::Permissive),
        ("open", "a", 80, MtlsMode::Strict),
        ("open", "a", 8080, MtlsMode::Disable),
        ("open", "a", 8081, MtlsMode::Strict),
    ] {
        let mode = snapshot
            .peer_authentications
            .effective(namespace, &labels(&[("app", app)]), port);
        assert_eq!(mode, expected, "{namespace} {app} {port}");
    }
}

#[test]
fn routing_rules_bind_to_the_most_specific_host() {
    let rule = |name: &str, host: &str, more: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\nspec:\n  \
             hosts: ['{host}']\n{more}  http: [{{route: [{{destination: {{host: callme}}}}]}}]\n"
        )
    };
    let snapshot = snapshot(&format!(
        "{}{}{}{}{}{}",
        service("callme", "default"),
        rule("short", "callme", ""),
        rule("private", "a.example.com", "  exportTo: ['.']\n"),
        rule("wild", "*.example.com", ""),
        rule("all", "*", ""),
        rule("edge", "*", "  gateways: [other/gw]\n"),
    ));
    let gateway = GatewayRef::Named {
        namespace: "other".into(),
        name: "gw".into(),
    };
    for (gateway, host, client, expected) in [
        (&GatewayRef::Mesh, "callme.default.svc.cluster.local", "x", "short"),
        (&GatewayRef::Mesh, "a.example.com", "default", "private"),
        (&GatewayRef::Mesh, "a.example.com", "x", "wild"),
        (&GatewayRef::Mesh, "b.org", "x", "all"),
        (&gateway, "callme.default.svc.cluster.local", "x", "edge"),
    ] {
        let seen = |rules: &MeshVirtualService| rules.visible_from(client);
        let found = *snapshot.virtual_services.for_host(gateway, host, seen).first().unwrap();
        assert_eq!(&*found.object.meta.name, expected, "{host} from {client}");
    }
}

#[test]
fn destination_rules_are_looked_up_from_the_client_outwards() {
    let rule = |name: &str, namespace: &str, host: &str, more: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\n\
             metadata: {{name: {name}, namespace: {namespace}}}\n\
             spec: {{host: '{host}', trafficPolicy: {{loadBalancer: {{simple: RANDOM}}}}{more}}}\n"
        )
    };
    let host = "callme.default.svc.cluster.local";
    let snapshot = snapshot(&format!(
        "{}{}{}{}{}{}",
        service("callme", "default"),
        rule("of-client", "client", host, ""),
        rule(
            "of-one",
            "client",
            host,
            ", workloadSelector: {matchLabels: {app: one}}"
        ),
        rule("of-service", "default", "callme", ""),
        rule("of-root", "istio-system", "*.cluster.local", ""),
        rule("hidden", "default", "hidden", ", exportTo: ['.']"),
    ));
    for (client, app, service_namespace, host, expected) in [
        ("client", "two", "default", host, Some("of-client")),
        ("client", "one", "default", host, Some("of-one")),
        ("else", "two", "default", host, Some("of-service")),
        (
            "else",
            "two",
            "default",
            "hidden.default.svc.cluster.local",
            Some("of-root"),
        ),
        ("else", "two", "default", "example.com", None),
    ] {
        let found = snapshot
            .destination_rules
            .lookup(client, &labels(&[("app", app)]), service_namespace, host);
        let name = found.map(|rule| &*rule.origins[0].object.name);
        assert_eq!(name, expected, "{host} from {client}");
    }
}

#[test]
fn destination_rules_of_one_host_are_merged() {
    let snapshot = snapshot(&format!(
        "{}---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: a}}\n\
         spec: {{host: callme, subsets: [{{name: v1, labels: {{version: v1}}}}]}}\n---\n\
         apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: b}}\n\
         spec: {{host: callme.default.svc.cluster.local, subsets: [{{name: v2, labels: {{version: v2}}}}], \
         trafficPolicy: {{tls: {{mode: ISTIO_MUTUAL}}}}}}\n",
        service("callme", "default"),
    ));
    let rule = snapshot
        .destination_rules
        .lookup("default", &Labels::new(), "default", "callme.default.svc.cluster.local")
        .unwrap();
    assert!(rule.rule.subset("v1").is_some() && rule.rule.subset("v2").is_some());
    assert!(rule.rule.traffic_policy.is_some());
    assert_eq!(
        rule.config_path(),
        "/apis/networking.istio.io/v1/namespaces/default/destination-rule/a"
    );
}
