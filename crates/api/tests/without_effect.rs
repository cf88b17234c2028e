//! Fields that are read and change nothing are named, with the object and the way out.

use expect_test::expect;
use weft_api::parse::parse;

#[test]
fn fields_without_effect_are_named() {
    let parsed = parse(
        "f.yaml",
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: d}\nspec:\n  host: a\n  \
         trafficPolicy:\n    tls: {mode: DISABLE, sni: x, insecureSkipVerify: true}\n---\n\
         apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: w}\n\
         spec: {address: 10.0.0.1, network: vpn}\n---\napiVersion: networking.istio.io/v1\nkind: Gateway\n\
         metadata: {name: g}\nspec:\n  selector: {a: b}\n  servers:\n  \
         - port: {number: 443, name: https, protocol: HTTPS}\n    hosts: ['*']\n    \
         tls: {mode: SIMPLE, credentialName: c, subjectAltNames: [x.example]}\n  \
         - port: {number: 444, name: mesh, protocol: HTTPS}\n    hosts: ['*']\n    \
         tls: {mode: ISTIO_MUTUAL, minProtocolVersion: TLSV1_3}\n",
    );
    let lines: String = parsed.diagnostics.iter().map(|found| format!("{found}\n")).collect();
    assert_eq!(parsed.resources.len(), 2, "{:?}", parsed.resources);
    expect![[r#"
            f.yaml:7:31: warning [IST0133] DestinationRule/default/d spec.trafficPolicy.tls.sni: has no effect in this mode; remove it, or use mode SIMPLE or MUTUAL
            f.yaml:7:54: warning [IST0133] DestinationRule/default/d spec.trafficPolicy.tls.insecureSkipVerify: has no effect in this mode; remove it, or use mode SIMPLE or MUTUAL
            f.yaml:12:36: warning [IST0133] WorkloadEntry/default/w spec.network: has no effect: the mesh is one network, and every endpoint is connected to directly; remove it
            f.yaml:22:61: error [IST0106] Gateway/default/g spec.servers[0].tls.subjectAltNames: checks no client: this mode asks for no client certificate; remove it, or use mode MUTUAL
            f.yaml:25:51: warning [IST0133] Gateway/default/g spec.servers[1].tls.minProtocolVersion: has no effect in this mode; remove it, or use mode SIMPLE or MUTUAL
    "#]]
    .assert_eq(&lines);
}
