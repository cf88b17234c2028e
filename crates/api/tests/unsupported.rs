//! Fields of Istio that the mesh does not carry out: those without which nothing is less safe cost their effect alone, others close the
//! part that they stand in, and few cost the object.

use weft_api::diagnostic::Severity;
use weft_api::parse::parse;

/// What an object loses by a field that the mesh does not support.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Costs {
    /// What the field would do; all else of the object holds.
    Effect,
    /// The part that it stands in.
    Part,
    Object,
}

/// An object of `kind` with a `spec`, and the field that is told.
type Row = (&'static str, &'static str, &'static str, Costs);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    (
        "DestinationRule",
        "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true}}}}",
        "spec.trafficPolicy.loadBalancer.consistentHash",
        Costs::Effect,
    ),
    (
        "DestinationRule",
        "{host: a, trafficPolicy: {loadBalancer: {localityLbSetting: {enabled: true}}}}",
        "spec.trafficPolicy.loadBalancer.localityLbSetting.enabled",
        Costs::Effect,
    ),
    (
        "DestinationRule",
        "{host: a, trafficPolicy: {loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}]}}}}",
        "spec.trafficPolicy.loadBalancer.localityLbSetting.failover",
        Costs::Effect,
    ),
    (
        "DestinationRule",
        "{host: a, trafficPolicy: {portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: PASSTHROUGH}}]}}",
        "spec.trafficPolicy.portLevelSettings[0].loadBalancer.simple",
        Costs::Effect,
    ),
    (
        "DestinationRule",
        "{host: a, trafficPolicy: {loadBalancer: {warmupDurationSecs: 10s}}}",
        "spec.trafficPolicy.loadBalancer.warmupDurationSecs",
        Costs::Effect,
    ),
    (
        "DestinationRule",
        "{host: a, subsets: [{name: v1, trafficPolicy: {outlierDetection: {consecutiveErrors: 3}}}]}",
        "spec.subsets[0].trafficPolicy.outlierDetection.consecutiveErrors",
        Costs::Effect,
    ),
    (
        "DestinationRule",
        "{host: a, trafficPolicy: {connectionPool: {http: {http2KeepAlive: {interval: 1s}}}}}",
        "spec.trafficPolicy.connectionPool.http.http2KeepAlive",
        Costs::Effect,
    ),
    (
        "DestinationRule",
        "{host: a, trafficPolicy: {tls: {mode: MUTUAL, credentialName: c}}}",
        "spec.trafficPolicy.tls.credentialName",
        Costs::Part,
    ),
    (
        "DestinationRule",
        "{host: a, trafficPolicy: {tls: {mode: SIMPLE, caCrl: c}}}",
        "spec.trafficPolicy.tls.caCrl",
        Costs::Part,
    ),
    (
        "DestinationRule",
        "{host: a, trafficPolicy: {proxyProtocol: {version: V1}}}",
        "spec.trafficPolicy.proxyProtocol",
        Costs::Part,
    ),
    (
        "DestinationRule",
        "{host: a, trafficPolicy: {tunnel: {targetHost: b, targetPort: 1}}}",
        "spec.trafficPolicy.tunnel",
        Costs::Part,
    ),
    (
        "VirtualService",
        "{hosts: [a], http: [{mirror: {host: b}, route: [{destination: {host: a}}]}]}",
        "spec.http[0].mirror",
        Costs::Effect,
    ),
    (
        "VirtualService",
        "{hosts: [a], http: [{mirrors: [], mirrorPercentage: {value: 1}, route: [{destination: {host: a}}]}]}",
        "spec.http[0].mirrors",
        Costs::Effect,
    ),
    (
        "VirtualService",
        "{hosts: [a], http: [{match: [{statPrefix: x}], route: [{destination: {host: a}}]}]}",
        "spec.http[0].match[0].statPrefix",
        Costs::Effect,
    ),
    (
        "VirtualService",
        "{hosts: [a], http: [{retries: {attempts: 1, retryRemoteLocalities: true}, route: [{destination: {host: a}}]}]}",
        "spec.http[0].retries.retryRemoteLocalities",
        Costs::Effect,
    ),
    (
        "VirtualService",
        "{hosts: [a], http: [{match: [{headers: {'@request.auth.claims.x': {exact: y}}}], route: [{destination: {host: a}}]}]}",
        "spec.http[0].match[0].headers.@request.auth.claims.x",
        Costs::Part,
    ),
    (
        "VirtualService",
        "{hosts: [a], http: [{delegate: {name: x}}]}",
        "spec.http[0].delegate",
        Costs::Part,
    ),
    (
        "VirtualService",
        "{hosts: [a], tcp: [{match: [{destinationSubnets: [10.0.0.0/8]}], route: [{destination: {host: a}}]}]}",
        "spec.tcp[0].match[0].destinationSubnets",
        Costs::Part,
    ),
    (
        "VirtualService",
        "{hosts: [a], tcp: [{match: [{sourceSubnet: 10.0.0.0/8}], route: [{destination: {host: a}}]}]}",
        "spec.tcp[0].match[0].sourceSubnet",
        Costs::Part,
    ),
    (
        "Gateway",
        "{selector: {a: b}, servers: [{port: {number: 80, name: http, protocol: HTTP, targetPort: 8080}, hosts: ['*']}]}",
        "spec.servers[0].port.targetPort",
        Costs::Effect,
    ),
    (
        "Gateway",
        "{selector: {a: b}, servers: [{port: {number: 80, name: http, protocol: HTTP}, defaultEndpoint: x, hosts: ['*']}]}",
        "spec.servers[0].defaultEndpoint",
        Costs::Effect,
    ),
    (
        "Gateway",
        "{selector: {a: b}, servers: [{port: {number: 443, name: s, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: c, cipherSuites: [X]}}]}",
        "spec.servers[0].tls.cipherSuites",
        Costs::Effect,
    ),
    (
        "Gateway",
        "{selector: {a: b}, servers: [{port: {number: 80, name: http, protocol: HTTP}, bind: 127.0.0.1, hosts: ['*']}]}",
        "spec.servers[0].bind",
        Costs::Part,
    ),
    (
        "Gateway",
        "{selector: {a: b}, servers: [{port: {number: 443, name: s, protocol: HTTPS}, hosts: ['*'], tls: {mode: MUTUAL, credentialName: c, caCrl: x}}]}",
        "spec.servers[0].tls.caCrl",
        Costs::Part,
    ),
    (
        "Gateway",
        "{selector: {a: b}, servers: [{port: {number: 443, name: s, protocol: HTTPS}, hosts: ['*'], tls: {mode: OPTIONAL_MUTUAL, credentialName: c}}]}",
        "spec.servers[0].tls.mode",
        Costs::Part,
    ),
    (
        "Sidecar",
        "{ingress: [{port: {number: 1, protocol: HTTP, name: a}, defaultEndpoint: '127.0.0.1:1'}], egress: [{hosts: ['./*']}]}",
        "spec.ingress",
        Costs::Effect,
    ),
    (
        "Sidecar",
        "{inboundConnectionPool: {}, egress: [{hosts: ['./*']}]}",
        "spec.inboundConnectionPool",
        Costs::Effect,
    ),
    (
        "Sidecar",
        "{outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: a}}}",
        "spec.outboundTrafficPolicy.egressProxy",
        Costs::Part,
    ),
    (
        "Sidecar",
        "{ingress: [{port: {number: 1, protocol: HTTPS, name: a}, tls: {mode: SIMPLE}}], egress: [{hosts: ['./*']}]}",
        "spec.ingress",
        Costs::Object,
    ),
    (
        "ServiceEntry",
        "{hosts: ['*.a.com'], ports: [{number: 443, name: tls}], resolution: DYNAMIC_DNS}",
        "spec.resolution",
        Costs::Object,
    ),
];

#[test]
fn each_costs_no_more_than_it_must() {
    for (kind, spec, field, costs) in ROWS {
        let text = format!("apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: x}}\nspec: {spec}\n");
        let parsed = parse("f.yaml", &text);
        let about = parsed
            .diagnostics
            .iter()
            .find(|found| found.field == *field && *found.code == *"WEFT0003");
        let Some(about) = about else {
            panic!("{spec}: {:?}", parsed.diagnostics);
        };
        let expected = match costs {
            Costs::Effect => Severity::Warning,
            Costs::Part | Costs::Object => Severity::Error,
        };
        assert_eq!(about.severity, expected, "{about}");
        assert_eq!(
            parsed.resources.len(),
            usize::from(*costs != Costs::Object),
            "{spec}: {:?}",
            parsed.diagnostics
        );
        let says = match costs {
            Costs::Effect => "has no effect: ",
            Costs::Part => "; the rest of the object applies",
            Costs::Object => "so the object is not applied",
        };
        assert!(about.message.contains(says), "{about}");
    }
}
