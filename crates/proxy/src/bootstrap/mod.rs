//! Reading an ordinary Envoy bootstrap file, YAML or JSON, into the checked model.

mod apart;
pub mod node;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor, ReflectMessage};
use serde_json::Value;
use weft_proto::descriptors;
use weft_proto::xds::envoy::config::bootstrap::v3 as pb;
use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::google::protobuf as wkt;

use crate::model::bootstrap::{Ads, Bootstrap, DynamicResources, Node};
use crate::model::cluster::Locality;
use crate::model::convert::{self, ConvertError, Unsupported};

pub use apart::{ApartError, load_apart};

const TYPE: &str = "envoy.config.bootstrap.v3.Bootstrap";

/// Largest bootstrap file in bytes.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Nesting deeper than this is not looked at for filters without a configuration; it is refused later.
const DEPTH_MAX: usize = 128;

/// Why a bootstrap cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The file cannot be read.
    #[error("cannot read {path}: {reason}")]
    Read {
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// It is not YAML or JSON.
    #[error("{path}: {reason}")]
    Syntax {
        path: PathBuf,
        /// What the parser said, with its place.
        reason: String,
    },
    /// It does not have the shape of a bootstrap.
    #[error("{file}: {path}: {reason}")]
    Shape {
        file: PathBuf,
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// It asks for what the proxy does not do.
    #[error(
        "{file}: unsupported configuration (use --tolerate-unsupported to try it without):\n{}",
        list(fields)
    )]
    Unsupported { file: PathBuf, fields: Vec<Unsupported> },
    /// A resource is wrong in itself.
    #[error("{file}: {error}")]
    Convert {
        file: PathBuf,
        /// What and where.
        error: ConvertError,
    },
}

/// A bootstrap with the file's own resources kept for the config dump.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The checked form.
    pub bootstrap: Bootstrap,
    /// The file as encoded `envoy.config.bootstrap.v3.Bootstrap`.
    pub source: Arc<[u8]>,
    /// Fields that are not carried and that the caller chose to tolerate.
    pub tolerated: Vec<Unsupported>,
}

/// Reads and checks a bootstrap file. With `tolerate` unsupported fields are returned instead of refused.
pub fn load(path: &Path, tolerate: bool) -> Result<Loaded, BootstrapError> {
    let read_error = |reason: String| BootstrapError::Read {
        path: path.to_owned(),
        reason,
    };
    let length = std::fs::metadata(path)
        .map_err(|error| read_error(error.to_string()))?
        .len();
    if length > FILE_BYTES_MAX {
        return Err(read_error(format!("{length} bytes are more than a bootstrap may have")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| read_error(error.to_string()))?;
    parse(path, &text, tolerate)
}

/// Checks the text of a bootstrap; `file` names it in errors.
pub fn parse(file: &Path, text: &str, tolerate: bool) -> Result<Loaded, BootstrapError> {
    let mut value: Value = serde_saphyr::from_str(text).map_err(|error| BootstrapError::Syntax {
        path: file.to_owned(),
        reason: error.to_string(),
    })?;
    name_nothing(&mut value, 0);
    let (message, tolerated) = checked(file, &value)?;
    if !tolerated.is_empty() && !tolerate {
        return Err(BootstrapError::Unsupported {
            file: file.to_owned(),
            fields: tolerated,
        });
    }
    decode(file, message.encode_to_vec().into(), tolerated)
}

/// Gives the empty `config` of a route's `FilterConfig`, which turns a filter on and says nothing else, the type that stands for nothing:
/// protobuf's JSON form wants a type for every `Any`, and Envoy takes one without.
fn name_nothing(value: &mut Value, depth: usize) {
    if depth > DEPTH_MAX {
        return;
    }
    match value {
        Value::Object(fields) => {
            let of_filter = fields.get("@type").and_then(Value::as_str) == Some(convert::FILTER_CONFIG_URL);
            let config = fields.get_mut("config").filter(|_| of_filter);
            if let Some(Value::Object(config)) = config
                && config.is_empty()
            {
                config.insert("@type".to_owned(), Value::from(convert::NOTHING_URL));
                config.insert("value".to_owned(), Value::Object(serde_json::Map::new()));
            }
            fields.values_mut().for_each(|value| name_nothing(value, depth + 1));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| name_nothing(value, depth + 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The checked form of an encoded bootstrap whose fields have been walked.
fn decode(file: &Path, encoded: Arc<[u8]>, tolerated: Vec<Unsupported>) -> Result<Loaded, BootstrapError> {
    let source = pb::Bootstrap::decode(&*encoded).map_err(|error| BootstrapError::Shape {
        file: file.to_owned(),
        path: TYPE.to_owned(),
        reason: error.to_string(),
    })?;
    let bootstrap = convert_bootstrap(&source).map_err(|error| BootstrapError::Convert {
        file: file.to_owned(),
        error,
    })?;
    Ok(Loaded {
        bootstrap,
        source: encoded,
        tolerated,
    })
}

/// The message of a YAML or JSON value, and which of its fields are not carried.
fn checked(file: &Path, value: &Value) -> Result<(DynamicMessage, Vec<Unsupported>), BootstrapError> {
    if let Some(message) =
        convert::carried_message(TYPE).and_then(|descriptor| from_value(file, value, descriptor).ok())
        && convert::unsupported_fields(&message, "").is_empty()
    {
        return Ok((message, Vec::new()));
    }
    // Something is wrong or not carried: only Envoy's whole API tells a misspelt field from one that is not carried.
    let descriptor = descriptors::pool().get_message_by_name(TYPE);
    let descriptor = descriptor.ok_or_else(|| BootstrapError::Shape {
        file: file.to_owned(),
        path: TYPE.to_owned(),
        reason: "is not in the descriptors".to_owned(),
    })?;
    let message = from_value(file, value, descriptor)?;
    let unsupported = convert::unsupported_fields(&message, "");
    Ok((message, unsupported))
}

/// The message of a YAML or JSON value; an unknown field is an error with its path.
fn from_value(file: &Path, value: &Value, descriptor: MessageDescriptor) -> Result<DynamicMessage, BootstrapError> {
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(value, &mut track);
    let message = DynamicMessage::deserialize(descriptor, tracked).map_err(|error| BootstrapError::Shape {
        file: file.to_owned(),
        path: track.path().to_string(),
        reason: error.to_string(),
    })?;
    debug_assert_eq!(message.descriptor().full_name(), TYPE);
    Ok(message)
}

fn convert_bootstrap(source: &pb::Bootstrap) -> Result<Bootstrap, ConvertError> {
    let mut out = Bootstrap {
        node: source.node.as_ref().map(node).unwrap_or_default(),
        ..Bootstrap::default()
    };
    if let Some(resources) = &source.static_resources {
        for (index, listener) in resources.listeners.iter().enumerate() {
            let at = convert::Path::root(&format!("static_resources.listeners[{index}]"));
            out.listeners.push(convert::listener(listener, &at)?);
        }
        for (index, cluster) in resources.clusters.iter().enumerate() {
            let at = convert::Path::root(&format!("static_resources.clusters[{index}]"));
            out.clusters.push(convert::cluster(cluster, &at)?);
        }
        for (index, secret) in resources.secrets.iter().enumerate() {
            let at = convert::Path::root(&format!("static_resources.secrets[{index}]"));
            out.secrets.push(convert::secret(secret, &at)?);
        }
    }
    if let Some(dynamic) = &source.dynamic_resources {
        out.ads = ads(dynamic)?;
        out.dynamic = DynamicResources {
            listeners: dynamic.lds_config.is_some(),
            clusters: dynamic.cds_config.is_some(),
        };
    }
    if let Some(admin) = source.admin.as_ref().and_then(|admin| admin.address.as_ref()) {
        out.admin = Some(convert::admin_address(admin, &convert::Path::root("admin.address"))?);
    }
    unique_names(&out)?;
    Ok(out)
}

fn unique_names(bootstrap: &Bootstrap) -> Result<(), ConvertError> {
    let mut listeners = std::collections::HashSet::new();
    let mut clusters = std::collections::HashSet::new();
    for (index, listener) in bootstrap.listeners.iter().enumerate() {
        if !listeners.insert(&listener.name) {
            return Err(twice(
                &format!("static_resources.listeners[{index}].name"),
                &listener.name,
            ));
        }
    }
    for (index, cluster) in bootstrap.clusters.iter().enumerate() {
        if !clusters.insert(&cluster.name) {
            return Err(twice(
                &format!("static_resources.clusters[{index}].name"),
                &cluster.name,
            ));
        }
    }
    Ok(())
}

fn twice(path: &str, name: &str) -> ConvertError {
    ConvertError {
        path: path.to_owned(),
        reason: format!("{name:?} is already taken"),
    }
}

fn ads(source: &pb::bootstrap::DynamicResources) -> Result<Option<Ads>, ConvertError> {
    use core::api_config_source::ApiType;
    let Some(config) = &source.ads_config else {
        return Ok(None);
    };
    let at = "dynamic_resources.ads_config";
    let wrong = |field: &str, reason: &str| ConvertError {
        path: format!("{at}.{field}"),
        reason: reason.to_owned(),
    };
    let delta = match ApiType::try_from(config.api_type) {
        Ok(ApiType::Grpc | ApiType::AggregatedGrpc) => false,
        Ok(ApiType::DeltaGrpc | ApiType::AggregatedDeltaGrpc) => true,
        _ => return Err(wrong("api_type", "only GRPC and DELTA_GRPC are supported")),
    };
    let cluster = convert::grpc_cluster(config, &convert::Path::root(at))?;
    Ok(Some(Ads { cluster, delta }))
}

fn node(source: &core::Node) -> Node {
    let metadata = source.metadata.as_ref().map(struct_json).unwrap_or_default();
    let locality = source
        .locality
        .as_ref()
        .map_or_else(Locality::default, |locality| Locality {
            region: locality.region.as_str().into(),
            zone: locality.zone.as_str().into(),
            sub_zone: locality.sub_zone.as_str().into(),
        });
    Node {
        id: source.id.as_str().into(),
        cluster: source.cluster.as_str().into(),
        locality,
        metadata,
    }
}

fn struct_json(source: &wkt::Struct) -> serde_json::Map<String, Value> {
    source
        .fields
        .iter()
        .map(|(key, value)| (key.clone(), value_json(value)))
        .collect()
}

fn value_json(source: &wkt::Value) -> Value {
    use wkt::value::Kind;
    match &source.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::NumberValue(number)) => serde_json::Number::from_f64(*number).map_or(Value::Null, Value::Number),
        Some(Kind::StringValue(text)) => Value::String(text.clone()),
        Some(Kind::BoolValue(value)) => Value::Bool(*value),
        Some(Kind::StructValue(object)) => Value::Object(struct_json(object)),
        Some(Kind::ListValue(list)) => Value::Array(list.values.iter().map(value_json).collect()),
    }
}

fn list(fields: &[Unsupported]) -> String {
    let lines: Vec<String> = fields
        .iter()
        .map(|field| format!("  {}: {}", field.path, field.reason))
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod carried_tests;

#[cfg(test)]
mod tests {
    use super::*;

    const LISTENER: &str = r#"
static_resources:
  listeners:
  - name: in
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          EXTRA
          route_config:
            virtual_hosts:
            - {name: all, domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 200}}]}
          http_filters:
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
"#;

    fn check(extra: &str, expected: Result<(), &str>) {
        let text = LISTENER.replace("EXTRA", extra);
        let got = parse(Path::new("b.yaml"), &text, false)
            .map(|_| ())
            .map_err(|error| error.to_string());
        match (got, expected) {
            (Ok(()), Ok(())) => {}
            (Err(got), Err(expected)) => assert!(got.contains(expected), "{got}\nshould have\n{expected}"),
            (got, _) => panic!("{extra}: {got:?}"),
        }
    }

    #[test]
    fn errors_name_the_field() {
        let chain = "static_resources.listeners[0].filter_chains[0].filters[0].typed_config";
        check("normalize_path: true", Ok(()));
        check(
            "proxy_status_config: {}",
            Err(&format!("{chain}.proxy_status_config: is not supported")),
        );
        check("normalize_paht: true", Err("normalize_paht"));
        check("stream_idle_timeout: -1s", Err(&format!("{chain}.stream_idle_timeout")));
        check(
            "access_log: [{name: a, typed_config: {\"@type\": \
             type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: /x, log_format: \
             {text_format_source: {inline_string: \"%NO%\"}}}}]",
            Err("operator %NO% at byte 0"),
        );
    }

    #[test]
    fn what_is_carried_is_read_without_all_of_envoys_api() {
        let value = serde_saphyr::from_str(&LISTENER.replace("EXTRA", "")).unwrap();
        let message = from_value(Path::new("b.yaml"), &value, convert::carried_message(TYPE).unwrap()).unwrap();
        assert_eq!(convert::unsupported_fields(&message, ""), []);
    }

    #[test]
    fn unsupported_fields_can_be_tolerated() {
        let text = LISTENER.replace("EXTRA", "proxy_status_config: {}");
        let loaded = parse(Path::new("b.yaml"), &text, true).unwrap();
        assert_eq!(loaded.tolerated.len(), 1);
        assert_eq!(loaded.bootstrap.listeners.len(), 1);
    }

    #[test]
    fn syntax_errors_have_a_place() {
        let error = parse(Path::new("b.yaml"), "a: [1,\nb: 2", false)
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("b.yaml: ") && error.contains("line"), "{error}");
    }
}
