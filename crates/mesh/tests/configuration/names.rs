//! Names of hosts as people write them.

use weft_proto::ads::Kind;
use weft_proto::xds::envoy::config::cluster::v3::Cluster;

use super::routes::{decoded, gateway, hosts, mesh, rules, view};

/// A name with a dot at its end is the same name, wherever a host is named. Where it is looked up, the dot says that it is whole.
#[test]
fn a_trailing_dot_is_no_part_of_a_name() {
    let text = |dot: &str| {
        let entry = |kind: &str, name: &str, spec: &str| {
            format!("---\napiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n")
        };
        let external = format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: old}}\n\
             spec: {{type: ExternalName, externalName: echo.default.svc.cluster.local{dot}, ports: [{{name: http, port: 80}}]}}\n\
             ---\napiVersion: v1\nkind: Service\nmetadata: {{name: far}}\n\
             spec: {{type: ExternalName, externalName: far.example.org{dot}, ports: [{{name: http, port: 80}}]}}\n"
        );
        [
            gateway(&format!(
                "{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: ['a.example.com{dot}', '*.b.example.com{dot}']}}"
            )),
            external,
            rules(
                "edge",
                "default",
                &format!(
                    "{{hosts: [a.example.com{dot}, '*.b.example.com{dot}'], gateways: [web], \
                     http: [{{route: [{{destination: {{host: old.default.svc.cluster.local{dot}}}}}]}}]}}"
                ),
            ),
            rules(
                "inner",
                "default",
                &format!(
                    "{{hosts: [lone.default.svc.cluster.local{dot}], http: [{{\
                     mirror: {{host: cart.store.svc.cluster.local{dot}}}, \
                     route: [{{destination: {{host: echo.default.svc.cluster.local{dot}, subset: v1}}}}]}}]}}"
                ),
            ),
            entry(
                "DestinationRule",
                "echo",
                &format!(
                    "{{host: echo.default.svc.cluster.local{dot}, trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: 7}}}}}}, \
                     subsets: [{{name: v1, labels: {{version: v1}}}}]}}"
                ),
            ),
            entry(
                "ServiceEntry",
                "out",
                &format!(
                    "{{hosts: [out.example.org{dot}], resolution: DNS, ports: [{{number: 80, name: http, protocol: HTTP}}], \
                     endpoints: [{{address: real.example.org}}]}}"
                ),
            ),
        ]
        .concat()
    };
    let made = |dot: &str, pod: &str| {
        let snapshot = mesh(&text(dot));
        let view = view(&snapshot, "default", pod);
        let clusters = decoded::<Cluster>(&view, Kind::Cluster).into_iter().map(|cluster| {
            let limits = cluster.circuit_breakers.is_some();
            let names = cluster
                .load_assignment
                .into_iter()
                .flat_map(|assignment| assignment.endpoints);
            let names = names
                .flat_map(|endpoints| endpoints.lb_endpoints)
                .map(|endpoint| endpoint.host_identifier);
            format!("{} {limits} {:?}\n", cluster.name, names.collect::<Vec<_>>())
        });
        hosts(&view, "") + &clusters.collect::<String>()
    };
    for pod in ["client-v1-0", "ingress-0"] {
        let plain = made("", pod);
        assert!(plain.contains("echo.default.svc.cluster.local"), "{plain}");
        assert_eq!(made(".", pod), plain, "{pod}");
    }
}
