//! Reader of `trafficPolicy`: load balancing, limits, outlier detection and TLS towards a host.

use std::collections::BTreeMap;

use super::fields::Fields;
use super::rules::destination_rule as rules;
use super::trace::Question;
use super::values;
use crate::destination_rule::{
    ClientTls, ClientTlsMode, ConnectionPool, H2Upgrade, LoadBalancer, OutlierDetection, PolicySettings, RetryBudget,
    TcpKeepalive, TrafficPolicy,
};
use crate::matching::Percent;

/// What happens instead of choosing by locality.
const NO_LOCALITY: &str = "endpoints are chosen without regard to locality";

/// Most ports with settings of their own.
const PORTS_MAX: usize = 128;

/// What becomes of connections to a host whose policy asks for a protection that the mesh does not have.
const UNCONNECTED: &str = "no connection is made to the host";

pub(super) fn read(fields: &mut Fields<'_, '_>) -> TrafficPolicy {
    let mut settings = settings(fields);
    fields.rules(rules::TRAFFIC_POLICY);
    fields.at_most("portLevelSettings", PORTS_MAX);
    let ports = fields.list("portLevelSettings", |report, node| {
        report.map(node, |f| {
            f.rules(rules::PORT_SETTINGS);
            let port = f.map("port", |f| f.required_port("number"));
            (port.unwrap_or_default(), self::settings(f))
        })
    });
    let mut ports: BTreeMap<u16, PolicySettings> = ports.into_iter().collect();
    for name in ["tunnel", "proxyProtocol"] {
        if fields.close(name, UNCONNECTED, "remove it") {
            std::iter::once(&mut settings)
                .chain(ports.values_mut())
                .for_each(|settings| settings.closed = true);
        }
    }
    TrafficPolicy {
        settings,
        ports,
        retry_budget: fields.map("retryBudget", |f| RetryBudget {
            percent: values::percent(f, "percent").unwrap_or(Percent(20.0)),
            min_concurrency: f.count("minRetryConcurrency").unwrap_or(3),
        }),
    }
}

fn settings(fields: &mut Fields<'_, '_>) -> PolicySettings {
    PolicySettings {
        load_balancer: fields.map("loadBalancer", load_balancer),
        connection_pool: fields.map("connectionPool", connection_pool),
        outlier_detection: fields.map("outlierDetection", outlier_detection),
        tls: fields.map("tls", client_tls),
        closed: false,
    }
}

fn load_balancer(fields: &mut Fields<'_, '_>) -> LoadBalancer {
    fields.pass_over(
        "consistentHash",
        "requests go to the less loaded of two endpoints, as with simple: LEAST_REQUEST",
    );
    fields.map("localityLbSetting", |f| {
        f.pass_over_true("enabled", NO_LOCALITY);
        for name in ["distribute", "failover", "failoverPriority"] {
            f.pass_over(name, NO_LOCALITY);
        }
    });
    fields.pass_over("zoneAwareLbSetting", NO_LOCALITY);
    for name in ["warmup", "warmupDurationSecs"] {
        fields.pass_over(name, "new endpoints get their share at once");
    }
    fields.pass_over(
        "backendUtilization",
        "endpoints are chosen without regard to their load reports",
    );
    let passthrough = fields
        .with("simple", |_, node| super::report::shown(node) == "PASSTHROUGH")
        .unwrap_or(false);
    if passthrough {
        fields.pass_over(
            "simple",
            "connections go to the less loaded of two endpoints, as with LEAST_REQUEST, and not to the address that was dialled",
        );
        return LoadBalancer::Default;
    }
    let simple = fields.choice(
        "simple",
        &[
            ("UNSPECIFIED", LoadBalancer::Default),
            ("LEAST_REQUEST", LoadBalancer::LeastRequest),
            ("LEAST_CONN", LoadBalancer::LeastRequest),
            ("ROUND_ROBIN", LoadBalancer::RoundRobin),
            ("RANDOM", LoadBalancer::Random),
        ],
    );
    simple.unwrap_or(LoadBalancer::Default)
}

fn connection_pool(fields: &mut Fields<'_, '_>) -> ConnectionPool {
    let mut pool = ConnectionPool::default();
    fields.map("tcp", |f| {
        pool.max_connections = f.number("maxConnections", 1, u32::MAX);
        pool.connect_timeout = f.positive_duration("connectTimeout");
        pool.max_connection_duration = f.positive_duration("maxConnectionDuration");
        pool.tcp_idle_timeout = f.duration("idleTimeout");
        pool.keepalive = f.map("tcpKeepalive", |f| TcpKeepalive {
            time: f.positive_duration("time"),
            interval: f.positive_duration("interval"),
            probes: f.count("probes"),
        });
    });
    fields.map("http", |f| {
        f.rules(rules::HTTP_POOL);
        f.pass_over(
            "http2KeepAlive",
            "no pings are sent; tcp.tcpKeepalive looks after idle connections",
        );
        pool.http1_max_pending_requests = f.number("http1MaxPendingRequests", 1, u32::MAX);
        pool.http2_max_requests = f.number("http2MaxRequests", 1, u32::MAX);
        pool.max_requests_per_connection = f.count("maxRequestsPerConnection");
        pool.max_retries = f.count("maxRetries");
        pool.http_idle_timeout = f.duration("idleTimeout");
        pool.h2_upgrade = f
            .choice(
                "h2UpgradePolicy",
                &[
                    ("DEFAULT", H2Upgrade::Default),
                    ("DO_NOT_UPGRADE", H2Upgrade::DoNotUpgrade),
                    ("UPGRADE", H2Upgrade::Upgrade),
                ],
            )
            .unwrap_or_default();
        pool.use_client_protocol = f.flag("useClientProtocol").unwrap_or(false);
        pool.max_concurrent_streams = f.number("maxConcurrentStreams", 1, u32::MAX);
    });
    pool
}

fn outlier_detection(fields: &mut Fields<'_, '_>) -> OutlierDetection {
    fields.pass_over("outlierDetectionHttpErrorCodes", "5xx answers count");
    fields.pass_over(
        "consecutiveErrors",
        "consecutive5xxErrors and consecutiveGatewayErrors count",
    );
    OutlierDetection {
        consecutive_5xx_errors: fields.count("consecutive5xxErrors"),
        consecutive_gateway_errors: fields.count("consecutiveGatewayErrors"),
        split_external_local_origin_errors: fields.flag("splitExternalLocalOriginErrors").unwrap_or(false),
        consecutive_local_origin_failures: fields.count("consecutiveLocalOriginFailures"),
        interval: fields.positive_duration("interval"),
        base_ejection_time: fields.positive_duration("baseEjectionTime"),
        max_ejection_percent: fields.number("maxEjectionPercent", 0, 100),
        min_health_percent: fields.number("minHealthPercent", 0, 100),
    }
}

fn client_tls(fields: &mut Fields<'_, '_>) -> ClientTls {
    let paths = "use clientCertificate, privateKey and caCertificates with paths";
    fields.typed("credentialName", Question::Text);
    let mut unusable = fields.close("credentialName", UNCONNECTED, paths);
    unusable |= fields.close("caCrl", UNCONNECTED, "remove it");
    fields.rules(rules::TLS);
    let mode = fields.choice(
        "mode",
        &[
            ("DISABLE", ClientTlsMode::Disable),
            ("SIMPLE", ClientTlsMode::Simple),
            ("MUTUAL", ClientTlsMode::Mutual),
            ("ISTIO_MUTUAL", ClientTlsMode::IstioMutual),
        ],
    );
    let tls = ClientTls {
        at: fields.at,
        mode: match mode.unwrap_or(ClientTlsMode::Disable) {
            ClientTlsMode::Simple | ClientTlsMode::Mutual if unusable => ClientTlsMode::Unusable,
            mode @ (ClientTlsMode::Disable
            | ClientTlsMode::Simple
            | ClientTlsMode::Mutual
            | ClientTlsMode::IstioMutual
            | ClientTlsMode::Unusable) => mode,
        },
        client_certificate: fields.text("clientCertificate"),
        private_key: fields.text("privateKey"),
        ca_certificates: fields.text("caCertificates"),
        sni: fields.text("sni"),
        subject_alt_names: fields.texts("subjectAltNames"),
        insecure_skip_verify: fields.flag("insecureSkipVerify").unwrap_or(false),
    };
    without_effect(fields, tls.mode);
    tls
}

/// What is harmless, but not what its author thinks.
fn without_effect(fields: &mut Fields<'_, '_>, mode: ClientTlsMode) {
    let names: &[&'static str] = match mode {
        ClientTlsMode::Disable => &["caCertificates", "sni", "subjectAltNames", "insecureSkipVerify"],
        ClientTlsMode::IstioMutual => &["insecureSkipVerify"],
        ClientTlsMode::Simple | ClientTlsMode::Mutual | ClientTlsMode::Unusable => &[],
    };
    for name in fields.set_of(names) {
        fields.warn(
            name,
            "has no effect in this mode",
            "remove it, or use mode SIMPLE or MUTUAL",
        );
    }
}
