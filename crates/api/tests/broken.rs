//! Broken input gives clear findings with file, line, column, object and field, and takes nothing else with it.

use expect_test::{Expect, expect};
use weft_api::parse::parse;

/// Checks the findings of a text, and how many objects are usable.
#[track_caller]
fn check(text: &str, usable: usize, expected: Expect) {
    let parsed = parse("f.yaml", text);
    let lines: String = parsed.diagnostics.iter().map(|found| format!("{found}\n")).collect();
    expected.assert_eq(&lines);
    assert_eq!(parsed.resources.len(), usable, "{:?}", parsed.resources);
}

/// A VirtualService around HTTP rules that start in line 7.
fn http(rules: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: a}}\nspec:\n  hosts: [reviews]\n  http:\n{rules}"
    )
}

#[test]
fn misspelt_fields_are_named_with_the_one_that_was_meant() {
    check(
        &http("  - route:\n    - destination: {host: reviews}\n      wieght: 3\n    timout: 3s\n"),
        0,
        expect![[r#"
            f.yaml:9:7: error [WEFT0002] VirtualService/default/a spec.http[0].route[0].wieght: no such field; did you mean weight?
            f.yaml:10:5: error [WEFT0002] VirtualService/default/a spec.http[0].timout: no such field; did you mean timeout?
        "#]],
    );
}

#[test]
fn a_misspelt_required_field_is_one_finding() {
    check(
        "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{prot: 80}]}\n",
        0,
        expect![[r#"
            f.yaml:4:17: error [WEFT0002] Service/default/s spec.ports[0].prot: no such field; did you mean port?
        "#]],
    );
}

#[test]
fn wrong_types_and_values() {
    check(
        &http(
            "  - match:\n    - uri: {exact: /a, prefix: /b}\n    - headers: {x: {regex: 'a('}}\n    - uri: /plain\n    \
             - port: http\n    route:\n    - destination: {host: reviews, subset: 1}\n      weight: -1\n    \
             - destination: {host: 'bad host'}\n      weight: ten\n    timeout: 5\n    \
             retries: {attempts: 2, retryOn: '5xx,conect-failure', perTryTimeout: 1 s}\n",
        ),
        0,
        expect![[r#"
            f.yaml:8:12: error [IST0106] VirtualService/default/a spec.http[0].match[0].uri: exact, prefix and regex exclude each other; keep one of them
            f.yaml:9:28: error [IST0106] VirtualService/default/a spec.http[0].match[1].headers.x.regex: "a(" is not a regular expression: unclosed group; use RE2 syntax (no look-around, no back-references)
            f.yaml:10:12: error [IST0106] VirtualService/default/a spec.http[0].match[2].uri: is text, but must be an object
            f.yaml:11:13: error [IST0106] VirtualService/default/a spec.http[0].match[3].port: is text, but must be a whole number
            f.yaml:13:44: error [IST0106] VirtualService/default/a spec.http[0].route[0].destination.subset: is a number, but must be text; put it in quotes: "1"
            f.yaml:14:15: error [IST0106] VirtualService/default/a spec.http[0].route[0].weight: -1 is out of range; use a whole number of at least 0
            f.yaml:15:27: error [IST0106] VirtualService/default/a spec.http[0].route[1].destination.host: "bad host" is not a host name
            f.yaml:16:15: error [IST0106] VirtualService/default/a spec.http[0].route[1].weight: is text, but must be a whole number
            f.yaml:17:14: error [IST0106] VirtualService/default/a spec.http[0].timeout: 5 is not a duration; write a number with a unit, such as 500ms, 2s, 1m30s
            f.yaml:18:37: error [IST0106] VirtualService/default/a spec.http[0].retries.retryOn: "conect-failure" is not a retry condition; did you mean connect-failure?
            f.yaml:18:74: error [IST0106] VirtualService/default/a spec.http[0].retries.perTryTimeout: 1 s is not a duration; write a number with a unit, such as 500ms, 2s, 1m30s
        "#]],
    );
}

#[test]
fn missing_fields() {
    check(
        &http("  - match: [{uri: {}}]\n  - route: [{weight: 1}]\n  - route: []\n"),
        0,
        expect![[r#"
            f.yaml:7:5: error [IST0106] VirtualService/default/a spec.http[0].route: is required; set one of route, redirect, directResponse
            f.yaml:7:19: error [IST0106] VirtualService/default/a spec.http[0].match[0].uri: is empty; set one of exact, prefix, regex
            f.yaml:8:13: error [IST0106] VirtualService/default/a spec.http[1].route[0].destination: is required; name a host
            f.yaml:9:12: error [IST0106] VirtualService/default/a spec.http[2].route: has no destination; name at least one
        "#]],
    );
    check(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {namespace: x}\n---\nkind: Gateway\n\
         metadata: {name: a}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: s}\n",
        0,
        expect![[r#"
            f.yaml:1:1: error [IST0106] spec: is required
            f.yaml:3:11: error [IST0106] metadata.name: is required; every object needs a name
            f.yaml:5:1: error [IST0106] Gateway/default/a apiVersion: is required; for example networking.istio.io/v1
            f.yaml:8:1: error [IST0106] Service/default/s spec: is required
        "#]],
    );
}

#[test]
fn actions_exclude_each_other() {
    check(
        &http(
            "  - redirect: {uri: /x, redirectCode: 304}\n    route: [{destination: {host: reviews}}]\n  \
             - directResponse: {body: {string: hi}}\n    timeout: 1s\n  \
             - redirect: {port: 80, derivePort: FROM_REQUEST_PORT, scheme: ftp}\n",
        ),
        0,
        expect![[r#"
            f.yaml:7:5: error [IST0106] VirtualService/default/a spec.http[0]: route, redirect and directResponse exclude each other; keep one of them
            f.yaml:7:39: error [IST0106] VirtualService/default/a spec.http[0].redirect.redirectCode: 304 is not supported; use 301, 302, 303, 307 or 308
            f.yaml:9:21: error [IST0106] VirtualService/default/a spec.http[1].directResponse.status: is required; give the HTTP status
            f.yaml:10:14: error [IST0106] VirtualService/default/a spec.http[1].timeout: has no effect beside redirect or directResponse; remove it
            f.yaml:11:38: error [IST0106] VirtualService/default/a spec.http[2].redirect.derivePort: excludes port; keep one of them
            f.yaml:11:65: error [IST0106] VirtualService/default/a spec.http[2].redirect.scheme: "ftp" is not allowed here; use one of http, https
        "#]],
    );
}

#[test]
fn fields_that_are_not_carried_out_are_refused_by_name() {
    check(
        &http(
            "  - fault: {delay: {fixedDelay: 1s}}\n    mirror: {host: x}\n    corsPolicy: {}\n    \
             delegate: {name: x}\n    route: [{destination: {host: reviews}}]\n",
        ),
        0,
        expect![[r#"
            f.yaml:7:20: warning [IST0133] VirtualService/default/a spec.http[0].fault.delay.percentage: is not set, so no request is hit; say how many, for example percentage: {value: 100}
            f.yaml:8:13: warning [WEFT0003] VirtualService/default/a spec.http[0].mirror: is not supported by this mesh yet and has no effect: no copies of requests are sent
            f.yaml:9:17: error [IST0106] VirtualService/default/a spec.http[0].corsPolicy.allowOrigins: is required; name the origins whose scripts may call
            f.yaml:10:15: error [WEFT0003] VirtualService/default/a spec.http[0].delegate: is not supported by this mesh yet, so requests that meet this rule get 503; the rest of the object applies; write the rules of the delegate into this object
        "#]],
    );
    check(
        "apiVersion: networking.istio.io/v1beta1\nkind: DestinationRule\nmetadata: {name: a, namespace: b}\nspec:\n  \
         host: reviews\n  trafficPolicy:\n    loadBalancer: {consistentHash: {useSourceIp: true}}\n    \
         portLevelSettings:\n    - port: {number: 80}\n      loadBalancer: {simple: PASSTHROUGH}\n      \
         tls: {credentialName: x}\n",
        0,
        expect![[r#"
            f.yaml:7:36: warning [WEFT0003] DestinationRule/b/a spec.trafficPolicy.loadBalancer.consistentHash: is not supported by this mesh yet and has no effect: requests go to the less loaded of two endpoints, as with simple: LEAST_REQUEST
            f.yaml:10:30: warning [WEFT0003] DestinationRule/b/a spec.trafficPolicy.portLevelSettings[0].loadBalancer.simple: is not supported by this mesh yet and has no effect: connections go to the less loaded of two endpoints, as with LEAST_REQUEST, and not to the address that was dialled
            f.yaml:11:12: error [IST0106] DestinationRule/b/a spec.trafficPolicy.portLevelSettings[0].tls.mode: is required; use DISABLE, SIMPLE, MUTUAL or ISTIO_MUTUAL
            f.yaml:11:29: error [WEFT0003] DestinationRule/b/a spec.trafficPolicy.portLevelSettings[0].tls.credentialName: is not supported by this mesh yet, so no connection is made to the host; the rest of the object applies; use clientCertificate, privateKey and caCertificates with paths
        "#]],
    );
}

#[test]
fn rules_behind_one_that_takes_everything_are_reported_and_kept() {
    check(
        &http(
            "  - match: [{uri: {prefix: /}}]\n    route: [{destination: {host: reviews}}]\n  - route: [{destination: {host: other}}]\n",
        ),
        1,
        expect![[r#"
            f.yaml:9:5: warning [IST0130] VirtualService/default/a spec.http[1]: is never reached: http[0] matches every request; move the rule without conditions to the end
        "#]],
    );
}

#[test]
fn weights() {
    check(
        &http(
            "  - match: [{uri: {exact: /a}}]\n    route: [{destination: {host: a}, weight: 0}, {destination: {host: \
             b}}]\n  - route: [{destination: {host: a}, weight: 1}, {destination: {host: b}}]\n",
        ),
        0,
        expect![[r#"
            f.yaml:8:12: error [IST0106] VirtualService/default/a spec.http[0].route: the weights of the destinations add up to 0; give each destination a weight
            f.yaml:9:12: warning [IST0133] VirtualService/default/a spec.http[1].route: a destination without a weight gets no traffic beside others; give each destination a weight
        "#]],
    );
}

#[test]
fn destination_rules() {
    check(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a}\nspec:\n  host: reviews\n  \
         subsets:\n  - {name: v1, labels: {version: v1}}\n  - {name: v1, labels: {version: v2}}\n  \
         - {labels: {version: 3}}\n  trafficPolicy:\n    \
         connectionPool: {tcp: {connectTimeout: 0s, maxConnections: 0}, http: {h2UpgradePolicy: UPGRAD}}\n    \
         outlierDetection: {maxEjectionPercent: 101, consecutiveErrors: 3}\n    tls: {mode: MUTUAL}\n    \
         portLevelSettings:\n    - {port: {number: 80}}\n    - {port: {number: 80}}\n",
        0,
        expect![[r#"
            f.yaml:8:5: error [IST0106] DestinationRule/default/a spec.subsets[1]: two subsets have the same name, v1; give each subset its own name
            f.yaml:9:5: error [IST0106] DestinationRule/default/a spec.subsets[2].name: is required; routes refer to subsets by name
            f.yaml:9:24: error [IST0106] DestinationRule/default/a spec.subsets[2].labels.version: is a number, but must be text; put it in quotes: "3"
            f.yaml:11:44: error [IST0106] DestinationRule/default/a spec.trafficPolicy.connectionPool.tcp.connectTimeout: 0s is not a duration of at least 1ms; write a number with a unit, such as 500ms, 2s, 1m30s, or leave the field out
            f.yaml:11:64: error [IST0106] DestinationRule/default/a spec.trafficPolicy.connectionPool.tcp.maxConnections: 0 is out of range; use a whole number of at least 1
            f.yaml:11:92: error [IST0106] DestinationRule/default/a spec.trafficPolicy.connectionPool.http.h2UpgradePolicy: "UPGRAD" is not allowed here; did you mean UPGRADE?
            f.yaml:12:44: error [IST0106] DestinationRule/default/a spec.trafficPolicy.outlierDetection.maxEjectionPercent: 101 is out of range; use a whole number from 0 to 100
            f.yaml:12:68: warning [WEFT0003] DestinationRule/default/a spec.trafficPolicy.outlierDetection.consecutiveErrors: is not supported by this mesh yet and has no effect: consecutive5xxErrors and consecutiveGatewayErrors count
            f.yaml:13:10: error [IST0106] DestinationRule/default/a spec.trafficPolicy.tls.clientCertificate: is required; MUTUAL needs a certificate and its key
            f.yaml:13:10: error [IST0106] DestinationRule/default/a spec.trafficPolicy.tls.privateKey: is required; MUTUAL needs a certificate and its key
            f.yaml:16:7: error [IST0106] DestinationRule/default/a spec.trafficPolicy.portLevelSettings[1]: two settings are for the same port, 80; join the two
        "#]],
    );
}

#[test]
fn gateways_service_entries_and_sidecars() {
    check(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g}\nspec:\n  servers:\n  \
         - port: {number: 443, name: https, protocol: HTTPS}\n    hosts: ['*']\n  \
         - port: {number: 70000, name: x, protocol: HTPP}\n    hosts: [a.*.com]\n  \
         - port: {number: 8443, name: y, protocol: HTTPS}\n    hosts: ['*']\n    \
         tls: {mode: SIMPLE, cipherSuites: [X]}\n---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
         metadata: {name: s}\nspec:\n  hosts: ['*.example.com']\n  addresses: [example.com]\n  ports:\n  \
         - {number: 80, name: http, protocol: HTTP}\n  - {number: 80, name: http, protocol: HTTP}\n  resolution: DNS\n\
         ---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: t}\n\
         spec: {hosts: [a.com], ports: [{number: 80, name: http}], resolution: STATIC}\n---\n\
         apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: s}\nspec:\n  ingress: []\n  egress:\n  \
         - captureMode: NONE\n    hosts: [reviews]\n",
        0,
        expect![[r#"
            f.yaml:5:3: error [IST0106] Gateway/default/g spec.selector: is required; name the labels of the gateway workloads, for example istio: ingressgateway
            f.yaml:6:5: error [IST0106] Gateway/default/g spec.servers[0].tls: is required; HTTPS and TLS need a mode
            f.yaml:8:20: error [IST0106] Gateway/default/g spec.servers[1].port.number: 70000 is out of range; use a whole number from 1 to 65535
            f.yaml:8:46: error [IST0106] Gateway/default/g spec.servers[1].port.protocol: "HTPP" is not a protocol; did you mean HTTP?
            f.yaml:9:13: error [IST0106] Gateway/default/g spec.servers[1].hosts[0]: "a.*.com" is not a host name
            f.yaml:12:10: error [IST0106] Gateway/default/g spec.servers[2].tls.credentialName: is required; or serverCertificate and privateKey with paths
            f.yaml:12:39: warning [WEFT0003] Gateway/default/g spec.servers[2].tls.cipherSuites: is not supported by this mesh yet and has no effect: suites with forward secrecy and authenticated encryption are offered, and no others
            f.yaml:18:10: error [IST0106] ServiceEntry/default/s spec.hosts: have a wildcard, but no endpoints; DNS cannot resolve a wildcard: name endpoints
            f.yaml:19:15: error [IST0106] ServiceEntry/default/s spec.addresses[0]: "example.com" is neither an IP address nor a CIDR prefix; names belong into hosts
            f.yaml:22:5: error [IST0106] ServiceEntry/default/s spec.ports[1]: two ports have the same number, 80; numbers and names of ports are unique
            f.yaml:22:5: error [IST0106] ServiceEntry/default/s spec.ports[1]: two ports have the same name, http; numbers and names of ports are unique
            f.yaml:28:7: error [IST0106] ServiceEntry/default/t spec.endpoints: is required; resolution STATIC needs endpoints or a workloadSelector
            f.yaml:34:12: warning [WEFT0003] Sidecar/default/s spec.ingress: is not supported by this mesh yet and has no effect: inbound listeners follow from the workload's ports
            f.yaml:36:5: error [IST0106] Sidecar/default/s spec.egress[0].port: is required; bind and captureMode NONE need a port to bind
            f.yaml:37:13: error [IST0106] Sidecar/default/s spec.egress[0].hosts[0]: "reviews" has no namespace; write "*/reviews" for any namespace or "./reviews" for this one
        "#]],
    );
}

#[test]
fn peer_authentication_and_services() {
    check(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: p}\n\
         spec: {mtls: {mode: STRIKT}, portLevelMtls: {http: {mode: STRICT}, 80: {mode: DISABLE}}}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec:\n  selector: {app: s}\n  ports:\n  \
         - {port: 80, name: web}\n  - {port: 81, targetPort: 0, name: http-b}\n  sessionAffinity: ClientIP\n  \
         clusterIP: x\n",
        0,
        expect![[r#"
            f.yaml:4:21: error [IST0106] PeerAuthentication/default/p spec.mtls.mode: "STRIKT" is not allowed here; did you mean STRICT?
            f.yaml:4:45: error [IST0106] PeerAuthentication/default/p spec.portLevelMtls: needs a selector; select the workloads that the ports belong to
            f.yaml:4:52: error [IST0106] PeerAuthentication/default/p spec.portLevelMtls.http: the key is not a port; use the workload's port, from 1 to 65535
            f.yaml:12:22: info [IST0118] Service/default/s spec.ports[0].name: "web" names no protocol, so the protocol is detected; start the name with http-, grpc-, tcp- or the like, or set appProtocol to one of these
            f.yaml:13:28: error [IST0106] Service/default/s spec.ports[1].targetPort: 0 is out of range; use a whole number from 1 to 65535
            f.yaml:14:20: warning [IST0133] Service/default/s spec.sessionAffinity: ClientIP has no effect inside the mesh; remove it
            f.yaml:15:14: error [IST0106] Service/default/s spec.clusterIP: "x" is not an IP address; or use None for headless
        "#]],
    );
}

#[test]
fn kinds_and_versions() {
    check(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {replicas: 1}\n---\n\
         apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: d}\nspec: {}\n---\n\
         apiVersion: networking.istio.io/v1\nkind: VirtualServise\nmetadata: {name: d}\n---\n\
         apiVersion: networking.istio.io/v2\nkind: Gateway\nmetadata: {name: d}\n---\n\
         apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {name: d}\n---\napiVersion: v1\n\
         kind: Servise\nmetadata: {name: d}\n---\nhello\n---\n[1]\n",
        1,
        expect![[r#"
            f.yaml:12:7: error [WEFT0004] VirtualServise/default/d kind: networking.istio.io has no kind VirtualServise; did you mean VirtualService?
            f.yaml:15:1: error [IST0106] Gateway/default/d spec: is required
            f.yaml:15:13: error [IST0106] Gateway/default/d apiVersion: version v2 of Gateway is not known; use one of the versions v1, v1beta1, v1alpha3
            f.yaml:20:7: warning [WEFT0004] EnvoyFilter/default/d kind: EnvoyFilter is not carried out by this mesh yet and is passed over
            f.yaml:24:7: warning [WEFT0004] Servise/default/d kind: Servise is no kind that the mesh reads; did you mean Service?
            f.yaml:27:1: error [IST0106]: is text, but must be an object
            f.yaml:29:1: error [IST0106]: is a list, but must be an object
        "#]],
    );
}

#[test]
fn kinds_of_groups_that_are_not_the_meshs() {
    let object =
        |version: &str, kind: &str| format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: d}}\n---\n");
    let text = [
        object("apps/v1", "Deployment"),
        object("v1", "ServiceAccount"),
        object("serving.knative.dev/v1", "Service"),
        object("networking.istio.com/v1", "VirtualService"),
        object("security.isto.io/v1beta1", "AuthorizationPolicy"),
        object("v1", "VirtualService"),
    ];
    check(
        &text.concat(),
        0,
        expect![[r#"
            f.yaml:14:7: warning [WEFT0004] VirtualService/default/d kind: VirtualService of networking.istio.com is no kind that the mesh reads; did you mean networking.istio.io/v1?
            f.yaml:18:7: warning [WEFT0004] AuthorizationPolicy/default/d kind: AuthorizationPolicy of security.isto.io is no kind that the mesh reads; did you mean security.istio.io/v1?
            f.yaml:22:7: warning [WEFT0004] VirtualService/default/d kind: VirtualService is no kind that the mesh reads; did you mean networking.istio.io/v1?
        "#]],
    );
}

#[test]
fn local_meshes() {
    check(
        "apiVersion: weft.mesh/v1alpha1\nkind: LocalMesh\nmetadata: {name: demo}\nspec:\n  config: ./config\n  \
         workloads:\n  - name: a\n    ports: [{name: http, port: 80}]\n    replicas: 2\n    \
         readiness: {httpGet: {path: healthz, port: web}}\n    dataPlane: envoi\n  - {name: a, command: [x]}\n  \
         gateways:\n  - {name: ingress, ports: {http: 80}}\n",
        0,
        expect![[r#"
            f.yaml:5:11: error [IST0106] LocalMesh/default/demo spec.config: is text, but must be a list; start each item with `- `
            f.yaml:7:5: error [IST0106] LocalMesh/default/demo spec.workloads[0].command: is required; give the program and its arguments as a list
            f.yaml:9:15: error [IST0106] LocalMesh/default/demo spec.workloads[0].replicas: 2 replicas cannot all listen on port 80; use port 0, or one replica
            f.yaml:10:33: error [IST0106] LocalMesh/default/demo spec.workloads[0].readiness.httpGet.path: does not start with /; start the path with /
            f.yaml:10:48: error [IST0106] LocalMesh/default/demo spec.workloads[0].readiness.httpGet.port: web is not a port of the workload; its ports are: http
            f.yaml:11:16: error [IST0106] LocalMesh/default/demo spec.workloads[0].dataPlane: "envoi" is not allowed here; did you mean envoy?
            f.yaml:12:5: error [IST0106] LocalMesh/default/demo spec.workloads: a workload or gateway default/a exists already; give each its own name
            f.yaml:14:35: error [IST0106] LocalMesh/default/demo spec.gateways[0].ports: "http" is not a port; write server port: local port, as in 80: 18080
        "#]],
    );
}

#[test]
fn broken_objects_are_named_so_that_the_last_good_one_can_stay() {
    let text = http("  - rout: []\n");
    let parsed = parse("f.yaml", &text);
    let names: Vec<String> = parsed.broken.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["VirtualService/default/a"]);
    assert!(!parsed.broken_unnamed);
    assert!(parse("f.yaml", "a: [").broken_unnamed);
    let other = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: a}\n";
    assert!(!parse("f.yaml", other).broken_unnamed);
}

proptest::proptest! {
    /// Whatever a file holds, reading it ends without a panic, and every finding has a place.
    #[test]
    fn any_text_is_read_without_panic(pieces in proptest::collection::vec(0..PIECES.len(), 0..40)) {
        let text: String = pieces.into_iter().map(|piece| PIECES[piece]).collect();
        let parsed = parse("f.yaml", &text);
        for found in parsed.diagnostics {
            proptest::prop_assert!(found.line > 0, "{found}");
        }
    }
}

/// Fragments that, put together, come near to objects.
const PIECES: &[&str] = &[
    "apiVersion: networking.istio.io/v1\n",
    "apiVersion: v1\n",
    "kind: VirtualService\n",
    "kind: DestinationRule\n",
    "kind: Gateway\n",
    "kind: Service\n",
    "metadata: {name: a}\n",
    "metadata:\n  name: a\n",
    "spec:\n",
    "  http:\n",
    "  - match:\n",
    "    - uri: {prefix: /}\n",
    "    route: [{destination: {host: a}, weight: 1}]\n",
    "  host: a\n",
    "  subsets: [{name: v1}, {name: v1}]\n",
    "  hosts: [a]\n",
    "  ports: [{port: 80}]\n",
    "  trafficPolicy: {portLevelSettings: [{port: {number: 1}}]}\n",
    "---\n",
    "\t",
    "- ",
    "{",
    "}",
    "&a ",
    "*a ",
    "<<: *a\n",
    "? ",
    "'",
    "\"",
    "|\n",
    "# c\n",
    "\u{feff}",
    "é: ü\n",
    "null",
    "~\n",
];
