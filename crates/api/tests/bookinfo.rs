//! The shape of the well-known book review application: every object loads, and its parts keep their places.

#![expect(clippy::wildcard_enum_match_arm, reason = "tests look for one kind")]

use std::sync::Arc;

use weft_api::destination_rule::{ClientTlsMode, LoadBalancer};
use weft_api::matching::{StringMatch, ValueMatch};
use weft_api::meta::{Object, Position};
use weft_api::parse::parse;
use weft_api::protocol::Protocol;
use weft_api::resource::Resource;
use weft_api::virtual_service::{HttpAction, VirtualService};

const TEXT: &str = r#"apiVersion: v1
kind: Service
metadata:
  name: reviews
  labels: {app: reviews, service: reviews}
spec:
  ports:
  - port: 9080
    name: http
  selector: {app: reviews}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: bookinfo-reviews}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: reviews-v1}
spec: {replicas: 1}
---
apiVersion: networking.istio.io/v1alpha3
kind: Gateway
metadata: {name: bookinfo-gateway}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ["*"]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews
spec:
  hosts:
  - reviews
  http:
  - match:
    - headers:
        End-User:
          exact: jason
    route:
    - destination: {host: reviews, subset: v2}
  - route:
    - destination: {host: reviews, subset: v1}
      weight: 80
    - destination: {host: reviews, subset: v3}
      weight: 20
    timeout: 0.5s
    retries: {attempts: 3, perTryTimeout: 2s, retryOn: "gateway-error,connect-failure,503"}
---
apiVersion: networking.istio.io/v1beta1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  trafficPolicy:
    tls: {mode: ISTIO_MUTUAL}
    loadBalancer: {simple: RANDOM}
  subsets:
  - name: v1
    labels: {version: v1}
  - name: v3
    labels: {version: v3}
    trafficPolicy:
      loadBalancer: {simple: ROUND_ROBIN}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: googleapis}
spec:
  hosts: [www.googleapis.com]
  ports:
  - {number: 443, name: https, protocol: HTTPS}
  location: MESH_EXTERNAL
  resolution: DNS
"#;

fn virtual_service(resources: &[Resource]) -> &Arc<Object<VirtualService>> {
    resources
        .iter()
        .find_map(|resource| match resource {
            Resource::VirtualService(object) => Some(object),
            _ => None,
        })
        .expect("the text has a VirtualService")
}

#[test]
fn everything_loads_and_deployments_and_the_like_are_passed_over() {
    let parsed = parse("bookinfo.yaml", TEXT);
    let kinds: Vec<&str> = parsed
        .resources
        .iter()
        .map(|resource| resource.kind().as_str())
        .collect();
    assert_eq!(
        kinds,
        [
            "Service",
            "Gateway",
            "VirtualService",
            "DestinationRule",
            "ServiceEntry"
        ]
    );
    assert_eq!(parsed.diagnostics, []);
}

#[test]
fn rules_keep_values_and_places() {
    let parsed = parse("bookinfo.yaml", TEXT);
    let rules = &virtual_service(&parsed.resources).spec.http;
    assert_eq!(rules[0].at, Position::new(38, 5));
    assert_eq!(rules[1].at, Position::new(44, 5));
    assert_eq!(
        rules[0].matches[0].headers,
        [(
            "end-user".to_owned(),
            ValueMatch::Value(StringMatch::Exact("jason".to_owned()))
        )]
    );
    let HttpAction::Route(routes) = &rules[1].action else {
        panic!("not a route")
    };
    let split: Vec<_> = routes
        .iter()
        .map(|route| (route.destination.subset.as_deref(), route.weight, route.at.line))
        .collect();
    assert_eq!(split, [(Some("v1"), 80, 45), (Some("v3"), 20, 47)]);
    assert_eq!(rules[1].timeout, Some(std::time::Duration::from_millis(500)));
    let retries = rules[1].retries.as_ref().unwrap();
    assert_eq!(retries.on.as_ref().unwrap().status_codes, [503]);
    assert_eq!(
        retries.on.as_ref().unwrap().conditions,
        ["gateway-error", "connect-failure"]
    );
}

#[test]
fn policies_of_subsets_lie_over_the_hosts() {
    let parsed = parse("bookinfo.yaml", TEXT);
    let rule = parsed
        .resources
        .iter()
        .find_map(|resource| match resource {
            Resource::DestinationRule(object) => Some(&object.spec),
            _ => None,
        })
        .unwrap();
    let policy = rule.policy(Some("v3"), 9080);
    assert_eq!(policy.load_balancer, Some(LoadBalancer::RoundRobin));
    assert_eq!(policy.tls.unwrap().mode, ClientTlsMode::IstioMutual);
    assert_eq!(rule.policy(Some("v1"), 9080).load_balancer, Some(LoadBalancer::Random));
    let Some(Resource::Service(service)) = parsed.resources.first() else {
        panic!("no service")
    };
    assert_eq!(service.spec.ports[0].protocol, Protocol::Http);
}
