//! Each broken reference gives one finding with its place.

use expect_test::{Expect, expect};

use super::{service, snapshot, workload};

#[track_caller]
fn check(text: &str, expected: Expect) {
    let snapshot = snapshot(text);
    let lines: String = snapshot.diagnostics.iter().map(|found| format!("{found}\n")).collect();
    expected.assert_eq(&lines);
}

fn mesh() -> String {
    format!(
        "{}{}{}{}",
        service("callme", "default"),
        workload("callme", "v1", "default", 41000, true),
        workload("callme", "v2", "default", 41010, true),
        service("other", "apart"),
    )
}

#[test]
fn a_whole_mesh_has_none() {
    let text = mesh().replace(&service("other", "apart"), "");
    check(
        &format!(
            "{text}---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: callme}}\nspec:\n  \
             hosts: [callme]\n  http:\n  - route:\n    \
             - {{destination: {{host: callme, subset: v1}}, weight: 80}}\n    \
             - {{destination: {{host: callme, subset: v2}}, weight: 20}}\n---\napiVersion: networking.istio.io/v1\n\
             kind: DestinationRule\nmetadata: {{name: callme}}\nspec:\n  host: callme\n  subsets:\n  \
             - {{name: v1, labels: {{version: v1}}}}\n  - {{name: v2, labels: {{version: v2}}}}\n"
        ),
        expect![[""]],
    );
}

#[test]
fn endpoints_that_take_mesh_tls_and_have_no_account() {
    let entry = |account: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: vm}}\nspec:\n  \
             hosts: [vm.example.com]\n  location: MESH_INTERNAL\n  resolution: STATIC\n  \
             ports: [{{number: 80, name: http, protocol: HTTP}}]\n  \
             endpoints: [{{address: 10.0.0.9, labels: {{security.istio.io/tlsMode: istio}}{account}}}]\n"
        )
    };
    check(&entry(", serviceAccount: vm"), expect![[""]]);
    check(
        &entry(""),
        expect![[r#"
        mesh.yaml:2:1: warning [WEFT0026] ServiceEntry/default/vm: the endpoint 10.0.0.9 is labelled to take mesh TLS and has no service account, so it is called without TLS; set serviceAccount of the endpoint or its WorkloadEntry, or take the label security.istio.io/tlsMode away
    "#]],
    );
}

#[test]
fn services_without_an_address_on_one_port() {
    let entry = |name: &str, more: &str, port: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}}}\n\
             spec: {{hosts: [{name}.example.com], {more}resolution: DNS, ports: [{port}]}}\n"
        )
    };
    let tcp = "{number: 7000, name: tcp, protocol: TCP}";
    let captured = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: own-0}\n\
                    spec: {containers: [{name: istio-proxy, image: y, args: [sidecar]}]}\n\
                    status: {phase: Running, podIP: 10.0.0.5}\n";
    let all = [
        entry("a", "", tcp),
        entry("b", "", tcp),
        entry("c", "addresses: [10.1.1.1], ", tcp),
        entry("d", "", "{number: 7000, name: tls, protocol: TLS}"),
        entry("e", "", "{number: 80, name: http, protocol: HTTP}"),
        entry("f", "", "{number: 80, name: tcp, protocol: TCP}"),
        captured.to_owned(),
    ];
    check(
        &all.concat(),
        expect![[r#"
        mesh.yaml:10:57: warning [IST0177] ServiceEntry/default/b spec.ports: b.example.com has no address, and captured connections to port 7000 cannot be told from those to ServiceEntry/default/a in mesh.yaml:2, which gets them; give it addresses, or let pods ask the mesh for names, where it gets one
        mesh.yaml:30:57: warning [IST0177] ServiceEntry/default/f spec.ports: f.example.com has no address, and ServiceEntry/default/e in mesh.yaml:22 speaks HTTP on port 80: captured connections that start with HTTP go by their host; give it addresses, or let pods ask the mesh for names, where it gets one
    "#]],
    );
}

#[test]
fn dangling_destinations() {
    check(
        &format!(
            "{}---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: callme}}\nspec:\n  \
             hosts: [callme]\n  http:\n  - route:\n    \
             - {{destination: {{host: callme, subset: v3}}, weight: 80}}\n    \
             - {{destination: {{host: calme}}, weight: 10}}\n    \
             - {{destination: {{host: callme, port: {{number: 81}}}}, weight: 5}}\n    \
             - {{destination: {{host: other.apart}}, weight: 5}}\n---\napiVersion: networking.istio.io/v1\n\
             kind: DestinationRule\nmetadata: {{name: callme}}\nspec:\n  host: callme\n  subsets:\n  \
             - {{name: v1, labels: {{version: v1}}}}\n  - {{name: v9, labels: {{version: v9}}}}\n---\n\
             apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: gone}}\n\
             spec: {{host: othr.apart.svc.cluster.local}}\n",
            mesh()
        ),
        expect![[r#"
            mesh.yaml:31:13: info [IST0127] Service/apart/other spec.selector: no workload in namespace apart has the labels app=other yet
            mesh.yaml:41:21: error [IST0101] VirtualService/default/callme spec.http[0].route[0].destination.subset: no DestinationRule defines the subset v3 of callme.default.svc.cluster.local; requests get 503; did you mean v1?
            mesh.yaml:42:21: error [IST0101] VirtualService/default/callme spec.http[0].route[1].destination.host: no service has the host calme.default.svc.cluster.local; requests get 503; did you mean callme.default.svc.cluster.local?
            mesh.yaml:43:21: error [IST0101] VirtualService/default/callme spec.http[0].route[2].destination.port.number: callme.default.svc.cluster.local has no port 81; requests get 503; its ports are 80
            mesh.yaml:44:21: error [IST0101] VirtualService/default/callme spec.http[0].route[3].destination.host: no service has the host other.apart; requests get 503; write the full name other.apart.svc.cluster.local
            mesh.yaml:53:5: warning [IST0173] DestinationRule/default/callme spec.subsets[1].labels: no workload of callme.default.svc.cluster.local has the labels version=v9 of the subset v9; requests to the subset get 503; label a workload, or remove the subset
            mesh.yaml:58:14: warning [IST0174] DestinationRule/default/gone spec.host: no service has the host othr.apart.svc.cluster.local; did you mean other.apart.svc.cluster.local?
        "#]],
    );
}

#[test]
fn hosts_and_parts_claimed_twice() {
    let rule = |name: &str, hosts: &str, export: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\nspec:\n  \
             hosts: {hosts}\n  exportTo: [{export}]\n  http: [{{route: [{{destination: {{host: callme}}}}]}}]\n"
        )
    };
    let entry = |name: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}}}\n\
             spec: {{hosts: [example.com], ports: [{{number: 80, name: http}}], resolution: DNS}}\n"
        )
    };
    let policy = |name: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}}}\nspec:\n  \
             host: callme\n  trafficPolicy: {{loadBalancer: {{simple: RANDOM}}}}\n  subsets:\n  \
             - {{name: v1, labels: {{version: v1}}}}\n"
        )
    };
    check(
        &format!(
            "{}{}{}{}{}{}{}{}",
            mesh(),
            rule("first", "[callme]", "'*'"),
            rule("second", "[callme.default.svc.cluster.local]", "'.'"),
            rule("third", "[callme]", "elsewhere"),
            entry("a"),
            entry("b"),
            policy("p"),
            policy("q"),
        ),
        expect![[r#"
            mesh.yaml:31:13: info [IST0127] Service/apart/other spec.selector: no workload in namespace apart has the labels app=other yet
            mesh.yaml:46:10: error [IST0109] VirtualService/default/second spec.hosts: callme.default.svc.cluster.local on gateway mesh belongs to VirtualService/default/first in mesh.yaml:34 already; these rules are not used for it; join the rules in one VirtualService
            mesh.yaml:82:18: warning [WEFT0009] DestinationRule/default/q spec.trafficPolicy: the traffic policy of this host is defined in DestinationRule/default/p in mesh.yaml:68 already, which is used; define it once
            mesh.yaml:84:5: warning [WEFT0009] DestinationRule/default/q spec.subsets[0]: the subset v1 of this host is defined in DestinationRule/default/p in mesh.yaml:68 already, which is used; define it once
        "#]],
    );
}

#[test]
fn gateways() {
    let edge = "---\napiVersion: weft.mesh/v1alpha1\nkind: LocalWorkload\n\
                metadata: {name: ingress-0, labels: {istio: ingressgateway}}\n\
                spec: {role: gateway, workloadName: ingress, ready: true, gatewayPorts: [{port: 80, localPort: \
                18080}]}\n";
    let gateway = |name: &str, selector: &str, port: u16, rest: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: {name}}}\nspec:\n  \
             selector: {{istio: {selector}}}\n  servers:\n  - port: {{number: {port}, name: p, protocol: {rest}\n    \
             hosts: [a.example.com]\n"
        )
    };
    let rule = "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: edge}\nspec:\n  \
                hosts: [a.example.com, b.example.com]\n  gateways: [good, goood]\n  \
                http: [{route: [{destination: {host: callme}}]}]\n";
    check(
        &format!(
            "{}{edge}{}{}{}{}{rule}",
            mesh(),
            gateway("good", "ingressgateway", 80, "HTTP}"),
            gateway("same", "ingressgateway", 80, "HTTP}"),
            gateway("nobody", "egressgateway", 80, "HTTP}"),
            gateway(
                "secure",
                "ingressgateway",
                443,
                "HTTPS}\n    tls: {mode: SIMPLE, credentialName: cert}"
            ),
        ),
        expect![[r#"
            mesh.yaml:31:13: info [IST0127] Service/apart/other spec.selector: no workload in namespace apart has the labels app=other yet
            mesh.yaml:54:5: warning [IST0145] Gateway/default/same spec.servers[0]: port 80 and host a.example.com are served by Gateway/default/good in mesh.yaml:39 already; remove the host from one of them
            mesh.yaml:61:13: warning [IST0101] Gateway/default/nobody spec.selector: no workload has the labels istio=egressgateway; start a gateway with these labels
            mesh.yaml:72:5: warning [IST0162] Gateway/default/secure spec.servers[0].port.number: the gateway default/ingress binds no local port for port 443; its ports are: 80
            mesh.yaml:73:10: error [IST0161] Gateway/default/secure spec.servers[0].tls.credentialName: there is no Secret default/cert that can be used; the secret belongs into the namespace of the gateway workload
            mesh.yaml:80:10: warning [IST0132] VirtualService/default/edge spec.hosts[1]: no server of Gateway default/good serves b.example.com; add the host to a server of the gateway
            mesh.yaml:81:13: error [IST0101] VirtualService/default/edge spec.gateways[1]: no Gateway default/goood exists; did you mean default/good?
        "#]],
    );
}

#[test]
fn ports_and_policies() {
    let two_ports = "---\napiVersion: weft.mesh/v1alpha1\nkind: LocalWorkload\n\
                     metadata: {name: two-0, labels: {app: two}}\nspec:\n  ready: true\n  \
                     ports: [{name: a, appPort: 1, meshPort: 2}, {name: b, appPort: 3, meshPort: 4}]\n";
    let sidecar = |name: &str, selector: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: {name}}}\n\
             spec: {{{selector}egress: [{{hosts: ['./*']}}]}}\n"
        )
    };
    let strict = |name: &str, selector: &str| {
        format!(
            "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: {name}}}\n\
             spec: {{{selector}mtls: {{mode: STRICT}}}}\n"
        )
    };
    check(
        &format!(
            "{}{two_ports}{}{}{}{}{}{}{}{}{}",
            mesh(),
            service("two", "default"),
            sidecar("one", ""),
            sidecar("two", ""),
            sidecar("three", "workloadSelector: {labels: {app: callme}}, "),
            sidecar("four", "workloadSelector: {labels: {version: v1}}, "),
            sidecar("five", "workloadSelector: {labels: {app: nobody}}, "),
            strict("one", ""),
            strict("two", ""),
            strict("three", "selector: {matchLabels: {app: nobody}}, "),
        ),
        expect![[r#"
            mesh.yaml:31:13: info [IST0127] Service/apart/other spec.selector: no workload in namespace apart has the labels app=other yet
            mesh.yaml:46:11: warning [WEFT0008] Service/default/two spec.ports: the port "http" fits no port of workload default/two-0; name one of its ports (a, b) in targetPort, or give the service port the same name
            mesh.yaml:53:1: error [IST0111] Sidecar/default/two spec.workloadSelector: the namespace default has Sidecar/default/one in mesh.yaml:48 already, which is used; keep one Sidecar without workloadSelector in a namespace
            mesh.yaml:66:26: error [IST0110] Sidecar/default/four spec.workloadSelector: the workload callme-v1-0 is selected by Sidecar/default/three in mesh.yaml:58 already, which is used; select each workload once
            mesh.yaml:71:26: warning [IST0127] Sidecar/default/five spec.workloadSelector: no workload in namespace default has the labels app=nobody; correct the labels, or remove the object
            mesh.yaml:78:1: warning [IST0167] PeerAuthentication/default/two spec.selector: the namespace default has PeerAuthentication/default/one in mesh.yaml:73 already, which is used; keep one PeerAuthentication without selector in a namespace
            mesh.yaml:86:18: warning [IST0127] PeerAuthentication/default/three spec.selector: no workload in namespace default has the labels app=nobody; correct the labels, or remove the object
        "#]],
    );
}

#[test]
fn listeners_of_sidecars() {
    let database = |name: &str| service(name, "default").replace("{name: http, port: 80}", "{name: tcp, port: 5000}");
    let local = |name: &str, version: &str, port: u16| {
        let text = workload(name, version, "default", port, true);
        text.replace(
            "  ready: true\n",
            &format!("  ready: true\n  outboundPort: {}\n", port + 2),
        )
    };
    check(
        &format!(
            "{}{}{}{}{}{}{}---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: callme}}\n\
             spec:\n  egress:\n  - port: {{number: 6000, protocol: TCP, name: db}}\n    captureMode: NONE\n    \
             hosts: [\"./db.default.svc.cluster.local\"]\n  - port: {{number: 6001, protocol: TCP, name: any}}\n    \
             captureMode: IPTABLES\n    hosts: [\"./*\"]\n  - port: {{number: 6002, protocol: TCP, name: many}}\n    \
             bind: 127.0.0.2\n    hosts: [\"./*\"]\n  - port: {{number: 6003, protocol: TCP, name: none}}\n    \
             hosts: [\"./callme.default.svc.cluster.local\"]\n  \
             - port: {{number: 6004, protocol: HTTP, name: web}}\n    hosts: [\"./*\"]\n",
            service("callme", "default"),
            database("db"),
            database("db2"),
            local("callme", "v1", 41000),
            local("callme", "v2", 41010),
            local("db", "v1", 41020),
            local("db2", "v1", 41030),
        ),
        expect![[r#"
            mesh.yaml:68:5: error [WEFT0025] Sidecar/default/callme spec.egress[0].port.number: the workloads callme-v1-0 and callme-v2-0 of this machine would both bind 127.0.0.1:6000; only one of them can; select one workload, or give each an address of its own with bind (for example 127.0.0.2)
            mesh.yaml:71:5: warning [IST0133] Sidecar/default/callme spec.egress[1].captureMode: traffic of workloads on this machine is not captured, so nothing listens; use captureMode: NONE and connect to the port
            mesh.yaml:74:5: warning [IST0133] Sidecar/default/callme spec.egress[2].hosts: several services are behind it (db.default.svc.cluster.local, db2.default.svc.cluster.local); all connections go to db.default.svc.cluster.local; name one service, or write a VirtualService with a tcp rule for the port
            mesh.yaml:74:5: error [WEFT0025] Sidecar/default/callme spec.egress[2].port.number: the workloads callme-v1-0 and callme-v2-0 of this machine would both bind 127.0.0.2:6002; only one of them can; select one workload, or give each an address of its own with bind (for example 127.0.0.2)
            mesh.yaml:77:5: error [IST0101] Sidecar/default/callme spec.egress[3].hosts: no service with a TCP port 6003, or with one TCP port, is behind it; nothing listens; name such a service, or write a VirtualService with a tcp rule for the port
            mesh.yaml:77:5: error [WEFT0025] Sidecar/default/callme spec.egress[3].port.number: the workloads callme-v1-0 and callme-v2-0 of this machine would both bind 127.0.0.1:6003; only one of them can; select one workload, or give each an address of its own with bind (for example 127.0.0.2)
            mesh.yaml:79:5: error [WEFT0025] Sidecar/default/callme spec.egress[4].port.number: the workloads callme-v1-0 and callme-v2-0 of this machine would both bind 127.0.0.1:6004; only one of them can; select one workload, or give each an address of its own with bind (for example 127.0.0.2)
        "#]],
    );
}
