//! What a pod whose traffic is redirected is served: listeners by address and port, chains by protocol, names.

use std::collections::BTreeMap;
use std::sync::Arc;

use expect_test::expect;
use prost::Message;
use weft_api::diagnostic::Severity;
use weft_api::parse::parse;
use weft_mesh::generate::{Generated, generate};
use weft_mesh::resource::Resource;
use weft_mesh::snapshot::{Inputs, MeshSettings, build};
use weft_mesh::view::{ProxySettings, ProxyView};
use weft_proto::names::NameTable;
use weft_proto::xds::envoy::config::cluster::v3 as cluster;
use weft_proto::xds::envoy::config::listener::v3 as listener;
use weft_proto::xds::envoy::config::route::v3 as route;
use weft_proto::xds::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;

use crate::listing::{listeners, sorted};

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: own-0, labels: {app: own}}\nspec:\n  \
                   serviceAccountName: own\n  containers:\n  - {name: app, image: x}\n  \
                   - {name: istio-proxy, image: y, args: [sidecar]}\n\
                   status: {phase: Running, podIP: 10.0.0.5, podIPs: [{ip: 10.0.0.5}]}\n";

fn served(config: &str) -> Generated {
    let parsed = parse("mesh.yaml", &format!("{POD}{config}"));
    // A port that does not say what it speaks is a finding, but none that is in the way.
    assert!(
        parsed.diagnostics.iter().all(|found| found.severity == Severity::Info),
        "{:?}",
        parsed.diagnostics
    );
    let mut inputs = Inputs::default();
    for resource in &parsed.resources {
        inputs.apply(resource);
    }
    let snapshot = Arc::new(build(inputs, &Arc::new(MeshSettings::default()), 1, None));
    let settings = ProxySettings {
        access_log_file: String::new(),
        collector: None,
        spans: None,
        sampling_ppm: 0,
    };
    generate(&ProxyView::new(snapshot, "default", "own-0", settings).expect("the pod is known"))
}

fn service(name: &str, ip: &str, selector: &str, ports: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n\
         spec: {{clusterIP: {ip}, selector: {{app: {selector}}}, ports: [{ports}]}}\n"
    )
}

#[test]
fn inbound_ports_have_chains_by_protocol_and_mode() {
    let config = [
        service(
            "own",
            "10.96.0.1",
            "own",
            "{name: http, port: 80, targetPort: 8080}, {name: tcp, port: 3306}",
        ),
        "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: own}\n\
         spec: {selector: {matchLabels: {app: own}}, mtls: {mode: PERMISSIVE}, portLevelMtls: {3306: {mode: STRICT}, \
         9100: {mode: DISABLE}}}\n"
            .to_owned(),
    ];
    let all = listeners(&served(&config.concat()));
    let inbound = &all[all.find("virtualInbound ").unwrap()..all.find("virtualOutbound ").unwrap()];
    expect![[r#"
        virtualInbound 0.0.0.0:15006 bound=true wait=Some(0.5)
          "virtualInbound-blackhole" [port 15006] -> BlackHoleCluster
          "virtualInbound-catchall-mtls-http" [tls istio-http/1.0,istio-http/1.1,istio-h2] mtls -> http InboundPassthroughCluster
          "virtualInbound-catchall-mtls-tcp" [tls istio,istio-peer-exchange] mtls -> InboundPassthroughCluster
          "virtualInbound-catchall-plain-http" [raw_buffer http/1.0,http/1.1,h2c] -> http InboundPassthroughCluster
          "virtualInbound-catchall-plain-tcp" [raw_buffer] -> InboundPassthroughCluster
          "virtualInbound-catchall-foreign-tls" [tls] -> InboundPassthroughCluster
          "0.0.0.0_3306-mtls-tcp" [port 3306 tls istio,istio-peer-exchange] mtls -> inbound|3306||
          "0.0.0.0_8080-mtls-http" [port 8080 tls istio-http/1.0,istio-http/1.1,istio-h2] mtls -> http inbound|8080||
          "0.0.0.0_8080-plain-http" [port 8080 raw_buffer] -> http inbound|8080||
          "0.0.0.0_8080-foreign-tls" [port 8080 tls] -> inbound|8080||
          "0.0.0.0_9100-plain-http" [port 9100 raw_buffer http/1.0,http/1.1,h2c] -> http InboundPassthroughCluster
          "0.0.0.0_9100-plain-tcp" [port 9100 raw_buffer] -> InboundPassthroughCluster
          "0.0.0.0_9100-foreign-tls" [port 9100 tls] -> InboundPassthroughCluster
    "#]].assert_eq(inbound);
}

#[test]
fn outbound_listeners_are_by_address_where_there_is_one() {
    let entry = |name: &str, spec: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"
        )
    };
    let config = [
        service("web", "10.96.0.1", "web", "{name: http, port: 80}"),
        service(
            "db",
            "10.96.0.2",
            "db",
            "{name: tcp, port: 80}, {name: mysql, port: 3306}, {name: any, port: 9000}",
        ),
        entry(
            "range",
            "hosts: [range.example.com], addresses: [10.20.0.0/16], resolution: NONE, ports: [{number: 80, \
                        name: tcp, protocol: TCP}]",
        ),
        entry(
            "tls",
            "hosts: [a.example.com, \"*.b.example.com\"], resolution: NONE, ports: [{number: 443, name: tls, protocol: TLS}]",
        ),
        entry(
            "auto",
            "hosts: [auto.example.com], resolution: DNS, ports: [{number: 7000, name: tcp, protocol: TCP}]",
        ),
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: db}\nspec:\n  hosts: [db]\n  \
         tcp:\n  - match: [{port: 3306}]\n    route: [{destination: {host: db, port: {number: 3306}}, weight: 90}, \
         {destination: {host: web, port: {number: 80}}, weight: 10}]\n"
            .to_owned(),
    ];
    let generated = served(&config.concat());
    let all = listeners(&generated);
    expect![[r#"
        0.0.0.0_443 0.0.0.0:443 bound=false wait=Some(0.5)
          "" [sni *.b.example.com tls] -> outbound|443||*.b.example.com
          "" [sni a.example.com tls] -> outbound|443||a.example.com
          else "PassthroughFilterChain" [] -> PassthroughCluster
        0.0.0.0_7000 0.0.0.0:7000 bound=false wait=Some(0.5)
          "" [] -> outbound|7000||auto.example.com
        0.0.0.0_80 0.0.0.0:80 bound=false wait=Some(0.0)
          "outbound-http-80" [raw_buffer http/1.0,http/1.1,h2c] -> routes 80
          "" [to 10.20.0.0] -> outbound|80||range.example.com
          else "PassthroughFilterChain" [] -> PassthroughCluster
        10.96.0.2_3306 10.96.0.2:3306 bound=false wait=Some(0.5)
          "" [] -> 90*outbound|3306||db.default.svc.cluster.local+10*outbound|80||web.default.svc.cluster.local
        10.96.0.2_80 10.96.0.2:80 bound=false wait=Some(0.5)
          "" [] -> outbound|80||db.default.svc.cluster.local
        10.96.0.2_9000 10.96.0.2:9000 bound=false wait=Some(0.5)
          "outbound-http-9000" [raw_buffer http/1.0,http/1.1,h2c] -> routes db.default.svc.cluster.local:9000
          else "" [] -> alpn istio, outbound|9000||db.default.svc.cluster.local
        2001:2::f0f0:811b_7000 2001:2::f0f0:811b:7000 bound=false wait=Some(0.5)
          "" [] -> outbound|7000||auto.example.com
        240.240.129.27_7000 240.240.129.27:7000 bound=false wait=Some(0.5)
          "" [] -> outbound|7000||auto.example.com
    "#]]
    .assert_eq(&all[..all.find("virtualInbound ").unwrap()]);
    let routes: Vec<String> = sorted(&generated.routes)
        .into_iter()
        .map(|resource| {
            let config = route::RouteConfiguration::decode(&*resource.bytes).unwrap();
            let hosts: Vec<String> = config
                .virtual_hosts
                .iter()
                .map(|host| format!("{}: {}", host.name, host.domains.join(" ")))
                .collect();
            format!("{}\n  {}\n", config.name, hosts.join("\n  "))
        })
        .collect();
    expect![[r#"
        80
          web.default.svc.cluster.local:80: web.default.svc.cluster.local web.default.svc.cluster.local. web web.default web.default.svc 10.96.0.1
          allow_any: *
        db.default.svc.cluster.local:9000
          db.default.svc.cluster.local:9000: *
    "#]]
    .assert_eq(&routes.concat());
    let table = sorted(&generated.names)[0];
    let table = NameTable::decode(&*table.bytes).unwrap();
    let mut names: Vec<String> = table
        .table
        .iter()
        .map(|(name, info)| format!("{name} {}\n", info.ips.join(" ")))
        .collect();
    names.sort();
    expect![[r#"
        auto.example.com 240.240.129.27 2001:2::f0f0:811b
        db.default.svc.cluster.local 10.96.0.2
        web.default.svc.cluster.local 10.96.0.1
    "#]]
    .assert_eq(&names.concat());
}

#[test]
fn what_nobody_registered_goes_where_it_was_meant_to_or_nowhere() {
    let sidecar = "---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: own}\n\
                   spec: {egress: [{hosts: [\"*/*\"]}], outboundTrafficPolicy: {mode: REGISTRY_ONLY}}\n";
    for (config, cluster) in [("", "PassthroughCluster"), (sidecar, "BlackHoleCluster")] {
        let all = listeners(&served(config));
        let outbound = &all[all.find("virtualOutbound ").unwrap()..];
        let expected = format!(
            "virtualOutbound 0.0.0.0:15001 bound=true wait=None\n  \
             \"virtualOutbound-blackhole\" [port 15001] -> BlackHoleCluster\n  \
             \"virtualOutbound-catchall-tcp\" [] -> {cluster}\n"
        );
        assert_eq!(outbound, expected);
    }
}

#[test]
fn clusters_lead_back_into_the_pod() {
    let generated = served(&service(
        "own",
        "10.96.0.1",
        "own",
        "{name: http, port: 80, targetPort: 8080}",
    ));
    for name in ["inbound|8080||", "InboundPassthroughCluster"] {
        let resource = generated.clusters.get(name).unwrap();
        let cluster = cluster::Cluster::decode(&*resource.bytes).unwrap();
        let source = cluster.upstream_bind_config.and_then(|bind| bind.source_address);
        assert_eq!(
            source.map(|source| source.address),
            Some("127.0.0.6".to_owned()),
            "{name}"
        );
        assert_eq!(
            cluster.lb_policy,
            cluster::cluster::LbPolicy::ClusterProvided as i32,
            "{name}"
        );
    }
}

#[test]
fn services_with_one_port_number_reach_their_own_ports_of_the_pod() {
    let web = service("web", "10.96.0.1", "own", "{name: http, port: 80, targetPort: 8080}");
    let api = service("api", "10.96.0.2", "own", "{name: grpc, port: 80, targetPort: 9090}");
    let generated = served(&(web + &api));
    let names: BTreeMap<&Arc<str>, &Resource> = generated.clusters.iter().collect();
    let names = names.keys().map(|name| name.to_string());
    let inbound: Vec<String> = names.filter(|name| name.starts_with("inbound|")).collect();
    assert_eq!(inbound, ["inbound|8080||", "inbound|9090||"]);
    let all = listeners(&generated);
    for (chain, cluster) in [
        ("8080-mtls-http", "inbound|8080||"),
        ("9090-mtls-http", "inbound|9090||"),
    ] {
        let line = all.lines().find(|line| line.contains(chain)).unwrap();
        assert!(line.ends_with(&format!("http {cluster}")), "{line}");
    }
}

/// An alias takes no connections of others on its port, and requests to it go to the service of the mesh that it stands for.
#[test]
fn an_external_name_is_an_alias() {
    let web = service("web", "10.96.0.1", "web", "{name: http, port: 80}");
    let alias = |name: &str, target: &str, port: &str| {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n\
             spec: {{type: ExternalName, externalName: {target}, ports: [{port}]}}\n"
        )
    };
    let own = alias("shop", "web.default.svc.cluster.local", "{name: http, port: 80}");
    let database = alias("db", "db.example.com", "{name: tcp, port: 5432, targetPort: 15432}");
    let generated = served(&(web + &own + &database));
    assert!(!listeners(&generated).contains("5432"), "{}", listeners(&generated));
    let routes = generated.routes.get("80").unwrap();
    let routes = route::RouteConfiguration::decode(&*routes.bytes).unwrap();
    let host = routes.virtual_hosts.iter();
    let host = { host }.find(|host| host.domains.iter().any(|domain| domain == "shop"));
    let action = host
        .and_then(|host| host.routes.first())
        .and_then(|route| route.action.clone());
    let Some(route::route::Action::Route(action)) = action else {
        panic!("{action:?}");
    };
    assert_eq!(
        action.cluster_specifier,
        Some(route::route_action::ClusterSpecifier::Cluster(
            "outbound|80||web.default.svc.cluster.local".to_owned()
        ))
    );
}

/// Only what is safe to repeat is, and nothing else keeps a body for it.
#[test]
fn requests_are_delivered_once_more_by_method() {
    let generated = served(&service(
        "own",
        "10.96.0.1",
        "own",
        "{name: http, port: 80, targetPort: 8080}",
    ));
    let resource = generated.listeners.get("virtualInbound").unwrap();
    let inbound = listener::Listener::decode(&*resource.bytes).unwrap();
    let chain = inbound
        .filter_chains
        .iter()
        .find(|chain| chain.name.ends_with("8080-mtls-http"));
    let filter = chain.and_then(|chain| chain.filters.last()?.config_type.clone());
    let Some(listener::filter::ConfigType::TypedConfig(config)) = filter else {
        panic!("{filter:?}");
    };
    let manager = hcm::HttpConnectionManager::decode(&*config.value).unwrap();
    let Some(hcm::http_connection_manager::RouteSpecifier::RouteConfig(routes)) = manager.route_specifier else {
        panic!("no routes");
    };
    let Some(route::route::Action::Route(action)) = &routes.virtual_hosts[0].routes[0].action else {
        panic!("no route");
    };
    let policy = action.retry_policy.as_ref().unwrap();
    let methods: Vec<String> = { policy.retriable_request_headers.iter() }
        .map(|header| format!("{} {:?}", header.name, header.header_match_specifier))
        .collect();
    assert_eq!((policy.retry_on.as_str(), methods.len()), ("reset", 3));
    for (method, shown) in ["GET", "HEAD", "OPTIONS"].iter().zip(&methods) {
        assert!(
            shown.starts_with(":method ") && shown.contains(&format!("Exact(\"{method}\")")),
            "{shown}"
        );
    }
}
