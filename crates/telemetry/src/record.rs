//! One request or connection as the proxy that received it reports it.
//!
//! Only the receiving side knows who called: by the certificate that the caller showed. So an edge is made of what sidecars log of
//! their inbound side, and of what gateways log of clients outside. What sidecars log of their outbound side tells the same requests
//! once more and is left out.

use std::sync::Arc;
use std::time::Duration;

use weft_base::identity::SpiffeId;
use weft_proto::cluster_name::ClusterName;
use weft_proto::xds::envoy::config::core::v3::Node;
use weft_proto::xds::envoy::data::accesslog::v3 as accesslog;
use weft_proto::xds::google::protobuf as pb;

/// Longest name that is kept, in bytes.
const NAME_BYTES_MAX: usize = 253;

/// One end of an edge.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct End {
    /// Workload; of callers that their proxy does not tell, the service account of the certificate. `unknown` for whoever showed none.
    pub workload: Arc<str>,
    /// Namespace, empty where unknown.
    pub namespace: Arc<str>,
}

/// One request, or one connection that carried bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub source: End,
    pub destination: End,
    /// What it was.
    pub what: What,
    /// Both sides proved who they are.
    pub mtls: bool,
}

/// What was reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Request {
        /// HTTP status; 0 where there was none.
        status: u16,
        /// From first to last byte.
        duration: Duration,
    },
    /// A connection that ended.
    Connection {
        /// Nobody was reached behind the proxy.
        failed: bool,
        /// Bytes from the caller.
        received: u64,
        /// Bytes to the caller.
        sent: u64,
    },
}

// === impl End ===

impl End {
    /// Whoever did not say who it is.
    pub fn unknown() -> Self {
        Self {
            workload: Arc::from("unknown"),
            namespace: Arc::from(""),
        }
    }

    /// A proxy by its node: the workload name of its metadata, else its pod.
    pub fn of_node(node: &Node) -> Option<(Self, bool)> {
        let mut parts = node.id.split('~');
        let gateway = match parts.next()? {
            "sidecar" => false,
            "router" => true,
            _ => return None,
        };
        let (pod, namespace) = parts.nth(1)?.rsplit_once('.')?;
        let workload = text(node, "WORKLOAD_NAME").unwrap_or(pod);
        if workload.len() > NAME_BYTES_MAX || namespace.len() > NAME_BYTES_MAX {
            return None;
        }
        let end = Self {
            workload: Arc::from(workload),
            namespace: Arc::from(namespace),
        };
        Some((end, gateway))
    }
}

// === impl Record ===

impl Record {
    /// What an entry of a proxy tells; `None` where it tells nothing of an edge.
    pub fn of_http(proxy: &End, gateway: bool, entry: &accesslog::HttpAccessLogEntry) -> Option<Self> {
        let common = entry.common_properties.as_ref()?;
        let response = entry.response.as_ref();
        let status = response
            .and_then(|response| response.response_code.as_ref())
            .map_or(0, |code| code.value);
        let duration = common
            .duration
            .as_ref()
            .or(common.time_to_last_downstream_tx_byte.as_ref());
        let what = What::Request {
            status: u16::try_from(status).unwrap_or(0),
            duration: duration.map(std_duration).unwrap_or_default(),
        };
        Self::received(proxy, gateway, common, what)
    }

    /// The same of a connection, which is reported when it ends.
    pub fn of_tcp(proxy: &End, gateway: bool, entry: &accesslog::TcpAccessLogEntry) -> Option<Self> {
        let common = entry.common_properties.as_ref()?;
        let bytes = entry.connection_properties.unwrap_or_default();
        let flags = common.response_flags.as_ref();
        let unreached = |flags: &accesslog::ResponseFlags| {
            flags.upstream_connection_failure
                || flags.no_healthy_upstream
                || flags.upstream_overflow
                || flags.no_cluster_found
        };
        let what = What::Connection {
            failed: flags.is_some_and(unreached),
            received: bytes.received_bytes,
            sent: bytes.sent_bytes,
        };
        Self::received(proxy, gateway, common, what)
    }

    fn received(proxy: &End, gateway: bool, common: &accesslog::AccessLogCommon, what: What) -> Option<Self> {
        let cluster = ClusterName::parse(&common.upstream_cluster);
        if !gateway && !matches!(cluster, Some(ClusterName::Inbound { .. })) {
            return None;
        }
        let caller = caller(common);
        Some(Self {
            mtls: caller.is_some(),
            source: caller.unwrap_or_else(End::unknown),
            destination: proxy.clone(),
            what,
        })
    }

    /// Whether it failed: no answer, or one that says the server is at fault; of a connection, nobody behind the proxy.
    pub fn failed(&self) -> bool {
        match self.what {
            What::Request { status, .. } => status == 0 || status >= 500,
            What::Connection { failed, .. } => failed,
        }
    }
}

/// Tag of an entry that names the caller's workload.
const SOURCE_WORKLOAD: &str = "source_workload";

/// The identity that the caller's certificate names, with the workload that its proxy told.
fn caller(common: &accesslog::AccessLogCommon) -> Option<End> {
    use accesslog::tls_properties::certificate_properties::subject_alt_name::San;
    let peer = common.tls_properties.as_ref()?.peer_certificate_properties.as_ref()?;
    let id = peer.subject_alt_name.iter().find_map(|name| match name.san.as_ref()? {
        San::Uri(uri) => uri.parse::<SpiffeId>().ok(),
        San::Dns(_) => None,
    })?;
    let told = common.custom_tags.get(SOURCE_WORKLOAD).map(String::as_str);
    let told = told.filter(|name| !name.is_empty() && name.len() <= NAME_BYTES_MAX);
    Some(End {
        workload: Arc::from(told.unwrap_or_else(|| id.service_account())),
        namespace: Arc::from(id.namespace()),
    })
}

fn std_duration(source: &pb::Duration) -> Duration {
    Duration::new(
        u64::try_from(source.seconds).unwrap_or(0),
        u32::try_from(source.nanos).unwrap_or(0).min(999_999_999),
    )
}

fn text<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    if let pb::value::Kind::StringValue(text) = node.metadata.as_ref()?.fields.get(key)?.kind.as_ref()? {
        return Some(text);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(cluster: &str, uri: Option<&str>, status: u32) -> accesslog::HttpAccessLogEntry {
        use accesslog::tls_properties::CertificateProperties;
        use accesslog::tls_properties::certificate_properties::SubjectAltName;
        use accesslog::tls_properties::certificate_properties::subject_alt_name::San;
        let name = |uri: &str| SubjectAltName {
            san: Some(San::Uri(uri.to_owned())),
        };
        let tls = uri.map(|uri| accesslog::TlsProperties {
            peer_certificate_properties: Some(CertificateProperties {
                subject_alt_name: vec![name(uri)],
                ..CertificateProperties::default()
            }),
            ..accesslog::TlsProperties::default()
        });
        accesslog::HttpAccessLogEntry {
            common_properties: Some(accesslog::AccessLogCommon {
                upstream_cluster: cluster.to_owned(),
                tls_properties: tls,
                ..accesslog::AccessLogCommon::default()
            }),
            response: Some(accesslog::HttpResponseProperties {
                response_code: Some(pb::UInt32Value { value: status }),
                ..accesslog::HttpResponseProperties::default()
            }),
            ..accesslog::HttpAccessLogEntry::default()
        }
    }

    #[test]
    fn the_receiving_side_tells_who_called() {
        let node = Node {
            id: "sidecar~127.0.0.1~callme-v1-0.default~x".to_owned(),
            ..Node::default()
        };
        let (proxy, gateway) = End::of_node(&node).unwrap();
        assert_eq!((&*proxy.workload, gateway), ("callme-v1-0", false));
        let caller = "spiffe://cluster.local/ns/default/sa/caller";
        let record = Record::of_http(&proxy, false, &entry("inbound|80||", Some(caller), 200)).unwrap();
        assert_eq!(
            (&*record.source.workload, record.mtls, record.failed()),
            ("caller", true, false)
        );
        let mut told = entry("inbound|80||", Some(caller), 200);
        let tags = &mut told.common_properties.as_mut().unwrap().custom_tags;
        tags.insert(SOURCE_WORKLOAD.to_owned(), "caller-v1".to_owned());
        let record = Record::of_http(&proxy, false, &told).unwrap();
        assert_eq!(
            (&*record.source.workload, &*record.source.namespace),
            ("caller-v1", "default")
        );
        let plain = Record::of_http(&proxy, false, &entry("inbound|80||", None, 503)).unwrap();
        assert_eq!(
            (&*plain.source.workload, plain.mtls, plain.failed()),
            ("unknown", false, true)
        );
        assert!(Record::of_http(&proxy, false, &entry("outbound|80||h", None, 200)).is_none());
        assert!(Record::of_http(&proxy, true, &entry("outbound|80||h", None, 200)).is_some());
    }

    #[test]
    fn connections_tell_their_bytes() {
        let proxy = End {
            workload: "db".into(),
            namespace: "default".into(),
        };
        let http = entry("inbound|5432||", Some("spiffe://cluster.local/ns/default/sa/caller"), 0);
        let mut connection = accesslog::TcpAccessLogEntry {
            common_properties: http.common_properties,
            connection_properties: Some(accesslog::ConnectionProperties {
                received_bytes: 3,
                sent_bytes: 5,
            }),
        };
        let record = Record::of_tcp(&proxy, false, &connection).unwrap();
        let what = |failed| What::Connection {
            failed,
            received: 3,
            sent: 5,
        };
        assert_eq!((record.what, record.mtls, record.failed()), (what(false), true, false));
        let common = connection.common_properties.as_mut().unwrap();
        common.response_flags = Some(accesslog::ResponseFlags {
            upstream_connection_failure: true,
            ..accesslog::ResponseFlags::default()
        });
        assert_eq!(Record::of_tcp(&proxy, false, &connection).unwrap().what, what(true));
        connection.common_properties.as_mut().unwrap().upstream_cluster = "outbound|5432||db".to_owned();
        assert!(Record::of_tcp(&proxy, false, &connection).is_none());
    }

    #[test]
    fn strange_nodes_are_nobody() {
        for id in [
            "",
            "x",
            "waypoint~1~a.b~c",
            "sidecar~1~ab~c",
            &format!("sidecar~1~{}.b~c", "a".repeat(300)),
        ] {
            let node = Node {
                id: id.to_owned(),
                ..Node::default()
            };
            assert!(End::of_node(&node).is_none(), "{id}");
        }
    }
}
