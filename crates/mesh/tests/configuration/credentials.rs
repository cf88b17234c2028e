//! Secrets of gateways in a cluster: what is served of them, and what is found once the server was asked.

use std::sync::Arc;

use weft_api::parse::parse;
use weft_mesh::generate::generate;
use weft_mesh::snapshot::{Answer, Inputs, MeshSettings, MeshSnapshot, build};
use weft_mesh::view::{ProxySettings, ProxyView};
use weft_proto::ads::Kind;

/// A gateway's pod, a pod beside it with the same label, and a Gateway with a credential.
const MESH: &str = "apiVersion: v1
kind: Pod
metadata: {name: edge-1, namespace: edge, labels: {istio: ingressgateway}}
spec: {serviceAccountName: edge, containers: [{name: istio-proxy, image: y, args: [gateway]}]}
status: {phase: Running, podIP: 10.0.0.9}
---
apiVersion: v1
kind: Pod
metadata: {name: beside-1, namespace: shop, labels: {istio: ingressgateway}}
spec: {serviceAccountName: beside, containers: [{name: istio-proxy, image: y, args: [sidecar]}]}
status: {phase: Running, podIP: 10.0.0.10}
---
apiVersion: v1
kind: Service
metadata: {name: edge, namespace: edge}
spec: {selector: {istio: ingressgateway}, ports: [{name: https, port: 443}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front, namespace: shop}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 443, name: https, protocol: HTTPS}, hosts: ['*'], tls: {mode: MODE, credentialName: cert}}
";

fn secret(name: &str, keys: &[&str]) -> String {
    let data: Vec<String> = keys.iter().map(|key| format!("{key}: YQ==")).collect();
    let data = data.join(", ");
    format!("---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: edge}}\ndata: {{{data}}}\n")
}

fn snapshot(mode: &str, secrets: &str, answers: &[(&str, Answer)]) -> MeshSnapshot {
    let parsed = parse("", &format!("{}{secrets}", MESH.replace("MODE", mode)));
    assert_eq!(parsed.diagnostics, []);
    let mut inputs = Inputs::default();
    for resource in &parsed.resources {
        inputs.apply(resource);
    }
    let answers = answers
        .iter()
        .map(|(name, answer)| (("edge".into(), (*name).into()), *answer));
    inputs.credentials = Arc::new(answers.collect());
    build(inputs, &Arc::new(MeshSettings::default()), 1, None)
}

/// What is said of the credential, if anything.
#[track_caller]
fn check(mode: &str, secrets: &str, answers: &[(&str, Answer)], expected: &str) {
    let snapshot = snapshot(mode, secrets, answers);
    let found: Vec<&str> = snapshot
        .diagnostics
        .iter()
        .filter(|found| &*found.code == "IST0161")
        .map(|found| found.message.as_str())
        .collect();
    assert_eq!(found.join("; "), expected, "{mode} {secrets:?} {answers:?}");
}

#[test]
fn a_secret_is_missed_only_where_the_server_says_so() {
    use Answer::{Read, Refused, Unusable};
    check("SIMPLE", "", &[], "");
    check("SIMPLE", "", &[("cert", Read)], "no Secret edge/cert exists");
    check(
        "SIMPLE",
        "",
        &[("cert", Refused)],
        "pilot may not read the Secret edge/cert",
    );
    let incomplete = "the Secret edge/cert has no certificate (tls.crt) or no key (tls.key)";
    check("SIMPLE", "", &[("cert", Unusable)], incomplete);
    check("SIMPLE", &secret("cert", &["tls.crt"]), &[("cert", Read)], incomplete);
    check("SIMPLE", &secret("cert", &["cert", "key"]), &[("cert", Read)], "");

    let whole = secret("cert", &["tls.crt", "tls.key"]);
    let without_roots = "MUTUAL needs ca.crt in the Secret edge/cert or in cert-cacert";
    check("MUTUAL", &whole, &[("cert", Read)], "");
    check(
        "MUTUAL",
        &whole,
        &[("cert", Read), ("cert-cacert", Read)],
        without_roots,
    );
    let beside = |keys: &[&str]| format!("{whole}{}", secret("cert-cacert", keys));
    let both = [("cert", Read), ("cert-cacert", Read)];
    check("MUTUAL", &beside(&["ca.crt"]), &both, "");
    check("MUTUAL", &beside(&["cacert"]), &both, "");
    check("MUTUAL", &beside(&["tls.crt"]), &both, without_roots);
    check(
        "MUTUAL",
        &secret("cert", &["tls.crt", "tls.key", "ca.crt"]),
        &[("cert", Read)],
        "",
    );
}

#[test]
fn roots_for_clients_are_served_from_either_secret() {
    let served = |secrets: &str| {
        let settings = ProxySettings {
            access_log_file: String::new(),
            collector: None,
            spans: None,
            sampling_ppm: 0,
        };
        let snapshot = Arc::new(snapshot("MUTUAL", secrets, &[]));
        let view = ProxyView::new(snapshot, "edge", "edge-1", settings).unwrap();
        let names = |kind: Kind| -> Vec<String> {
            let generated = generate(&view);
            generated.of(kind).iter().map(|(name, _)| name.to_string()).collect()
        };
        names(Kind::Secret)
    };
    let both = ["kubernetes://cert", "kubernetes://cert-cacert"];
    assert_eq!(served(&secret("cert", &["tls.crt", "tls.key"])), both[..1]);
    assert_eq!(served(&secret("cert", &["tls.crt", "tls.key", "ca.crt"])), both);
    let beside = format!(
        "{}{}",
        secret("cert", &["tls.crt", "tls.key"]),
        secret("cert-cacert", &["ca.crt"])
    );
    assert_eq!(served(&beside), both);
}

/// What is missed is not missing while a pod that will be it is starting.
#[test]
fn a_gateway_without_an_address_yet_is_no_finding() {
    const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {istio: ingressgateway}}\n\
                       spec: {containers: [{name: istio-proxy, args: [gateway]}]}\nstatus: {phase: Pending}\n";
    const GATEWAY: &str = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: front}\n\
                           spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, \
                           protocol: HTTP}, hosts: ['*']}]}\n";
    let read = |text: &str| parse("", text).resources.remove(0);
    let codes = |snapshot: &MeshSnapshot| {
        let codes = snapshot.diagnostics.iter().filter(|found| &*found.code == "IST0101");
        codes.count()
    };
    let settings = Arc::new(MeshSettings::default());
    let mut inputs = Inputs::default();
    inputs.apply(&read(GATEWAY));
    let none = build(inputs.clone(), &settings, 1, None);
    assert_eq!(codes(&none), 1);
    inputs.apply(&read(POD));
    let starting = build(inputs.clone(), &settings, 2, Some(&none));
    assert_eq!(codes(&starting), 0);
    inputs.remove(&read(POD).key());
    let gone = build(inputs, &settings, 3, Some(&starting));
    assert_eq!(codes(&gone), 1);
}
