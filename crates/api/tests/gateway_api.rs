//! Gateway API objects are read field by field where the mesh will need it.

use weft_api::gateway_api::RouteKind;
use weft_api::matching::StringMatch;
use weft_api::meta::Kind;
use weft_api::parse::parse;
use weft_api::resource::Resource;

#[test]
fn routes_keep_parents_matches_and_backends() {
    let text = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r, namespace: shop}\n\
                spec:\n  parentRefs: [{name: gw, sectionName: https}, {group: \"\", kind: Service, name: cart, port: \
                80}]\n  hostnames: [shop.example]\n  rules:\n  \
                - matches: [{path: {type: Exact, value: /a}, method: GET, headers: [{name: x, value: y}]}]\n    \
                filters: [{type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: a, value: b}]}}]\n    \
                backendRefs: [{name: cart, port: 80, weight: 3}]\n    timeouts: {request: 3s}\nstatus: {parents: []}\n";
    let parsed = parse("r.yaml", text);
    assert_eq!(parsed.diagnostics, []);
    let [Resource::Route(object)] = parsed.resources.as_slice() else {
        panic!("{:?}", parsed.resources);
    };
    let spec = &object.spec;
    assert_eq!(
        (parsed.resources[0].kind(), spec.kind),
        (Kind::HttpRoute, RouteKind::Http)
    );
    let parents: Vec<(&str, &str, Option<u16>)> = spec
        .parents
        .iter()
        .map(|p| (p.kind.as_str(), p.name.as_str(), p.port))
        .collect();
    assert_eq!(parents, [("Gateway", "gw", None), ("Service", "cart", Some(80))]);
    let rule = &spec.rules[0];
    assert_eq!(rule.matches[0].path, Some(StringMatch::Exact("/a".to_owned())));
    assert_eq!(rule.filters, ["RequestHeaderModifier"]);
    assert_eq!((rule.backends[0].0.name.as_str(), rule.backends[0].1), ("cart", 3));
}

#[test]
fn the_two_gateways_are_told_apart_by_group() {
    let text = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: g}\n\
                spec: {gatewayClassName: istio, listeners: [{name: http, port: 80, protocol: HTTP}]}\n---\n\
                apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g}\n\
                spec: {selector: {a: b}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: \
                [\"*\"]}]}\n";
    let parsed = parse("g.yaml", text);
    let kinds: Vec<Kind> = parsed.resources.iter().map(Resource::kind).collect();
    assert_eq!(
        kinds,
        [Kind::KubernetesGateway, Kind::Gateway],
        "{:?}",
        parsed.diagnostics
    );
    let broken = parse(
        "g.yaml",
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: g}\nspec: {listeners: []}\n",
    );
    assert!(
        broken.diagnostics[0]
            .to_string()
            .contains("spec.gatewayClassName: is required")
    );
}
