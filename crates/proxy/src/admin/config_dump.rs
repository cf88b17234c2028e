//! `/config_dump` in Envoy's JSON shape (`envoy.admin.v3.ConfigDump`): the resources as they came, static and discovered.
//!
//! Private keys never leave: they read `[redacted]`, as in Envoy.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use prost::Name;
use prost_reflect::{DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use weft_proto::ads::Kind;
use weft_proto::descriptors;
use weft_proto::xds::envoy::config::bootstrap::v3 as pb;

use crate::model::convert;
use crate::model::secret::{DataSource, Secret};
use crate::secrets::SecretStore;
use crate::xds::config_store::{ConfigStore, Origin};

/// Fields with something to hide, wherever they are (those that Envoy's API marks as sensitive).
const SENSITIVE: [&str; 6] = [
    "private_key",
    "password",
    "pkcs12",
    "session_ticket_keys",
    "hmac_secret",
    "token_secret",
];

/// What stands for a hidden value.
const REDACTED: &str = "[redacted]";

/// Where the page's content is.
#[derive(Clone, Debug)]
pub(crate) struct DumpSource {
    /// The bootstrap as it was read, encoded.
    pub bootstrap: Arc<[u8]>,
    pub store: Arc<Mutex<ConfigStore>>,
    pub secrets: SecretStore,
    /// When the process started.
    pub started: SystemTime,
}

// === impl DumpSource ===

impl DumpSource {
    /// The page. With `endpoints` it has the endpoints as well (`?include_eds`).
    pub(super) fn page(&self, endpoints: bool) -> Value {
        let started = moment(self.started);
        let bootstrap = json_of_bytes(&pb::Bootstrap::type_url(), &self.bootstrap);
        let fixed = |list: &str, kind: Kind, field: &str| -> Vec<Value> {
            let resources = bootstrap
                .get("static_resources")
                .and_then(|resources| resources.get(list));
            let resources = resources.and_then(Value::as_array).into_iter().flatten();
            let dumped = resources.map(|resource| json!({field: typed(kind, resource), "last_updated": started}));
            dumped.collect()
        };
        let mut sections = vec![
            section(
                "BootstrapConfigDump",
                json!({"bootstrap": bootstrap, "last_updated": started}),
            ),
            section(
                "ClustersConfigDump",
                json!({
                    "static_clusters": fixed("clusters", Kind::Cluster, "cluster"),
                    "dynamic_active_clusters": self.discovered(Kind::Cluster, |_, state| state, "cluster"),
                }),
            ),
            section(
                "ListenersConfigDump",
                json!({
                    "static_listeners": fixed("listeners", Kind::Listener, "listener"),
                    "dynamic_listeners":
                        self.discovered(Kind::Listener, |name, state| json!({"name": name, "active_state": state}), "listener"),
                }),
            ),
            section(
                "RoutesConfigDump",
                json!({
                    "dynamic_route_configs": self.discovered(Kind::Routes, |_, state| state, "route_config"),
                }),
            ),
            section("SecretsConfigDump", json!({"dynamic_active_secrets": self.secrets()})),
        ];
        if endpoints {
            let found = self.discovered(Kind::Endpoints, |_, state| state, "endpoint_config");
            sections.push(section(
                "EndpointsConfigDump",
                json!({"dynamic_endpoint_configs": found}),
            ));
        }
        descriptors::release();
        json!({"configs": sections})
    }

    fn discovered(&self, kind: Kind, entry: impl Fn(&str, Value) -> Value, field: &str) -> Vec<Value> {
        // Copied out: traffic may need a new configuration while the text is made.
        let (origins, failures) = {
            let store = self.store.lock();
            (store.origins(kind), store.failures(kind))
        };
        let mut dumped = BTreeMap::new();
        for (name, origin) in &origins {
            let state = json!({
                "version_info": origin.version,
                field: body(kind, origin),
                "last_updated": moment(origin.updated),
            });
            dumped.insert(name, entry(name, state));
        }
        for (name, failure) in &failures {
            let nothing = || {
                if kind == Kind::Listener {
                    json!({"name": name})
                } else {
                    json!({})
                }
            };
            let refused = dumped.entry(name).or_insert_with(nothing);
            refused["error_state"] = json!({
                "failed_configuration": body(kind, &failure.origin),
                "last_update_attempt": moment(failure.origin.updated),
                "details": failure.reasons.join("; "),
                "version_info": failure.origin.version,
            });
        }
        dumped.into_values().collect()
    }

    /// The secrets in use: certificates and roots, never keys.
    fn secrets(&self) -> Vec<Value> {
        let inline = |data: &DataSource| match data {
            DataSource::Inline(bytes) => json!({"inline_bytes": STANDARD.encode(bytes)}),
            DataSource::File(path) => json!({"filename": path}),
        };
        let dumped = self.secrets.delivered_now().into_iter().map(|(name, secret)| {
            let mut body = json!({"@type": Kind::Secret.type_url(), "name": name});
            match &secret {
                Secret::Certificate { chain, .. } => {
                    let hidden = json!({"inline_bytes": STANDARD.encode(REDACTED)});
                    body["tls_certificate"] = json!({"certificate_chain": inline(chain), "private_key": hidden});
                }
                Secret::Validation { roots } => body["validation_context"] = json!({"trusted_ca": inline(roots)}),
            }
            json!({"name": name, "secret": body})
        });
        dumped.collect()
    }
}

/// A resource as it came, with its type.
fn body(kind: Kind, origin: &Origin) -> Map<String, Value> {
    let mut resource = json_of_bytes(kind.type_url(), &origin.body);
    resource.insert("@type".to_owned(), kind.type_url().into());
    resource
}

fn section(kind: &str, content: Value) -> Value {
    let mut section = json!({"@type": format!("type.googleapis.com/envoy.admin.v3.{kind}")});
    if let (Value::Object(section), Value::Object(content)) = (&mut section, content) {
        // Empty lists are left out, as protobuf's JSON form has it.
        section.extend(
            content
                .into_iter()
                .filter(|(_, value)| value.as_array().is_none_or(|list| !list.is_empty())),
        );
    }
    section
}

/// A resource with its type, as it stands inside of an `Any`.
fn typed(kind: Kind, resource: &Value) -> Value {
    let mut object = Map::from_iter([("@type".to_owned(), Value::from(kind.type_url()))]);
    object.extend(resource.as_object().cloned().unwrap_or_default());
    object.into()
}

/// The JSON form of an encoded message with protobuf's field names and sensitive fields hidden.
fn json_of_bytes(type_url: &str, bytes: &[u8]) -> Map<String, Value> {
    let name = type_url.rsplit('/').next().unwrap_or_default();
    // Only fields that are not carried, and were tolerated, need all of Envoy's API.
    let value = convert::carried_message(name)
        .and_then(|descriptor| json_by(descriptor, bytes, true))
        .or_else(|| json_by(descriptors::pool().get_message_by_name(name)?, bytes, false));
    match value {
        Some(mut value) => {
            hide(&mut value);
            value.as_object().cloned().unwrap_or_default()
        }
        // It was checked when it came; should its JSON form fail all the same, the page says so.
        None => Map::from_iter([("error".to_owned(), Value::from(format!("{name} has no JSON form")))]),
    }
}

/// The JSON form by a descriptor; with `whole` only of a message that the descriptor says everything about.
fn json_by(descriptor: MessageDescriptor, bytes: &[u8], whole: bool) -> Option<Value> {
    let message = DynamicMessage::decode(descriptor, bytes).ok()?;
    if whole && !convert::unsupported_fields(&message, "").is_empty() {
        return None;
    }
    let options = SerializeOptions::new().use_proto_field_name(true);
    message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .ok()
}

/// Puts `[redacted]` in place of every text below a sensitive field.
fn hide(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                if SENSITIVE.contains(&name.as_str()) {
                    redact(field);
                } else {
                    hide(field);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn redact(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match (name.as_str(), &field) {
                    // Names of files and variables say where the secret is, not what.
                    ("filename" | "environment_variable", _) => {}
                    ("inline_bytes", _) => *field = STANDARD.encode(REDACTED).into(),
                    _ => redact(field),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        Value::String(text) => REDACTED.clone_into(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn moment(time: SystemTime) -> String {
    OffsetDateTime::from(time).format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use weft_base::shutdown::Shutdown;
    use weft_proto::xds::envoy::config::endpoint::v3::ClusterLoadAssignment;
    use weft_proto::xds::google::protobuf::Any;

    use super::*;
    use crate::bootstrap;
    use crate::xds::config_store::Resource;

    fn source() -> DumpSource {
        let text = r#"
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
static_resources:
  clusters:
  - name: fixed
    load_assignment: {cluster_name: fixed}
"#;
        let loaded = bootstrap::parse(std::path::Path::new("test"), text, false).unwrap();
        let secrets = SecretStore::new(&Shutdown::new());
        DumpSource {
            store: Arc::new(Mutex::new(ConfigStore::new(&loaded.bootstrap, secrets.clone(), false))),
            bootstrap: loaded.source,
            secrets,
            started: SystemTime::UNIX_EPOCH,
        }
    }

    #[tokio::test]
    async fn static_and_discovered_resources_have_envoys_shape() {
        let source = source();
        let cluster = weft_proto::xds::envoy::config::cluster::v3::Cluster {
            name: "found".to_owned(),
            load_assignment: Some(ClusterLoadAssignment::default()),
            ..Default::default()
        };
        let resource = Resource {
            name: "found".into(),
            version: "7".to_owned(),
            body: Any {
                type_url: Kind::Cluster.type_url().to_owned(),
                value: cluster.encode_to_vec(),
            },
        };
        let applied = source.store.lock().update(Kind::Cluster, &[resource], &[], false);
        assert!(applied.rejected.is_empty(), "{:?}", applied.rejected);
        let page = source.page(false);
        let clusters = &page["configs"][1];
        assert_eq!(
            clusters["@type"],
            "type.googleapis.com/envoy.admin.v3.ClustersConfigDump"
        );
        assert_eq!(clusters["static_clusters"][0]["cluster"]["name"], "fixed");
        let found = &clusters["dynamic_active_clusters"][0];
        assert_eq!(
            (&found["version_info"], &found["cluster"]["name"]),
            (&json!("7"), &json!("found"))
        );
        assert_eq!(found["cluster"]["@type"], Kind::Cluster.type_url());

        source.store.lock().update(Kind::Cluster, &[], &["found".into()], false);
        assert_eq!(source.page(false)["configs"][1].get("dynamic_active_clusters"), None);
    }

    #[tokio::test]
    async fn what_is_refused_is_told_with_what_came() {
        let source = source();
        let bad = weft_proto::xds::envoy::config::cluster::v3::Cluster {
            name: "bad".to_owned(),
            lb_policy: 5,
            load_assignment: Some(ClusterLoadAssignment::default()),
            ..Default::default()
        };
        let resource = Resource {
            name: "bad".into(),
            version: "8".to_owned(),
            body: Any {
                type_url: Kind::Cluster.type_url().to_owned(),
                value: bad.encode_to_vec(),
            },
        };
        source.store.lock().update(Kind::Cluster, &[resource], &[], false);
        let page = source.page(false);
        let state = &page["configs"][1]["dynamic_active_clusters"][0]["error_state"];
        assert_eq!(
            (&state["version_info"], &state["failed_configuration"]["name"]),
            (&json!("8"), &json!("bad")),
            "{page}"
        );
        assert!(state["details"].as_str().unwrap().contains("lb_policy"), "{state}");
    }

    #[tokio::test]
    async fn private_keys_are_hidden() {
        let source = source();
        let inline = |text: &'static str| DataSource::Inline(text.as_bytes().into());
        let secret = Secret::Certificate {
            chain: inline("chain"),
            key: inline("geheim"),
        };
        source
            .secrets
            .deliver(&crate::model::secret::SdsSource::Ads, &"default".into(), secret);
        let text = source.page(true).to_string();
        assert!(
            text.contains(&STANDARD.encode("chain")) && !text.contains(&STANDARD.encode("geheim")),
            "{text}"
        );

        let mut nested =
            json!({"a": [{"private_key": {"inline_string": "geheim"}, "password": {"filename": "f"}, "b": "open"}]});
        hide(&mut nested);
        let expected =
            json!({"a": [{"private_key": {"inline_string": REDACTED}, "password": {"filename": "f"}, "b": "open"}]});
        assert_eq!(nested, expected);
    }
}
