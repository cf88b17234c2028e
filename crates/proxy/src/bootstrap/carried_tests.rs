//! Accepted means enforced: every field of the table of carried fields changes the model, or is in a short list that says why not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, ReflectMessage, Value};

use super::{TYPE, convert_bootstrap, from_value, pb};
use crate::model::convert;

/// A bootstrap in which every carried field is set to something else than its default.
const SOURCE: &str = include_str!("../../tests/data/carried.yaml");

/// Fields without an effect, each with its reason.
const WITHOUT_EFFECT: &[(&[&str], &str)] = &[
    (
        &[
            "envoy.config.accesslog.v3.AccessLog.name",
            "envoy.config.core.v3.TransportSocket.name",
            "envoy.config.core.v3.TypedExtensionConfig.name",
            "envoy.config.listener.v3.Filter.name",
            "envoy.config.listener.v3.FilterChain.metadata",
            "envoy.config.listener.v3.ListenerFilter.name",
            "envoy.config.route.v3.RetryPolicy.RetryHostPredicate.name",
            "envoy.config.trace.v3.Tracing.Http.name",
        ],
        "labels for people: as in Envoy the type of the configuration says what it is",
    ),
    (
        &[
            "envoy.config.accesslog.v3.RuntimeFilter.runtime_key",
            "envoy.config.core.v3.RuntimeFeatureFlag.runtime_key",
            "envoy.config.core.v3.RuntimeFractionalPercent.runtime_key",
            "envoy.config.core.v3.RuntimeUInt32.runtime_key",
            "envoy.config.route.v3.WeightedCluster.runtime_key_prefix",
        ],
        "there are no runtime layers, so that the value beside the key holds, as in an Envoy without layers",
    ),
    (
        &[
            "envoy.config.core.v3.ApiConfigSource.transport_api_version",
            "envoy.config.core.v3.ConfigSource.resource_api_version",
            "envoy.extensions.access_loggers.grpc.v3.CommonGrpcAccessLogConfig.transport_api_version",
        ],
        "version 3 is spoken, the only one that Envoy has",
    ),
    (
        &["envoy.config.core.v3.ConfigSource.initial_fetch_timeout"],
        "the first answers are waited for as long as Envoy waits by default, 15 s",
    ),
    (
        &["envoy.config.core.v3.ApiConfigSource.set_node_on_first_message_only"],
        "the node is told once a stream, which every server must be content with",
    ),
    (
        &[
            "envoy.config.core.v3.Node.user_agent_name",
            "envoy.config.core.v3.Node.user_agent_version",
        ],
        "the proxy tells its own",
    ),
    (
        &["envoy.config.listener.v3.Listener.enable_reuse_port"],
        "each thread has a socket of its own in any case, which spreads connections as Envoy's default does",
    ),
    (
        &["envoy.config.route.v3.WeightedCluster.total_weight"],
        "deprecated: the sum of the weights counts, as in Envoy",
    ),
    (
        &[
            "envoy.config.cluster.v3.Cluster.round_robin_lb_config",
            "envoy.type.matcher.v3.RegexMatcher.google_re2",
        ],
        "messages without fields that name the default",
    ),
];

/// What is proven, and how a configuration that is a little different is made.
struct Proof {
    whole: String,
    /// Fields by name, with whether a change of theirs changed the model.
    effects: BTreeMap<String, bool>,
}

type Rebuild<'a> = &'a dyn Fn(DynamicMessage) -> DynamicMessage;

// === impl Proof ===

impl Proof {
    /// Tries every carried field of a message and of those below it; `rebuild` puts a changed one into the whole.
    fn visit(&mut self, message: &DynamicMessage, rebuild: Rebuild<'_>) {
        let descriptor = message.descriptor();
        if descriptor.full_name() == "google.protobuf.Any" {
            return self.visit_any(message, rebuild);
        }
        let Some((_, carried)) = convert::CARRIED
            .iter()
            .find(|(name, _)| *name == descriptor.full_name())
        else {
            return;
        };
        for field in descriptor.fields() {
            if *carried != "*" && !carried.split(' ').any(|name| name == field.name()) {
                continue;
            }
            let name = format!("{}.{}", descriptor.full_name(), field.name());
            let known = self.effects.get(&name).copied();
            let is_set = message.has_field(&field);
            if known != Some(true) {
                let changes = variants(message, &field).into_iter();
                let any = { changes }.any(|changed| self.differs(&rebuild(changed)));
                if is_set || any {
                    self.effects.insert(name, any);
                }
            }
            if is_set {
                self.visit_value(message, &field, rebuild);
            }
        }
    }

    fn visit_value(&mut self, message: &DynamicMessage, field: &FieldDescriptor, rebuild: Rebuild<'_>) {
        let set = |value: Value| {
            let mut changed = message.clone();
            changed.set_field(field, value);
            rebuild(changed)
        };
        match message.get_field(field).as_ref() {
            Value::Message(inner) => self.visit(inner, &|inner| set(Value::Message(inner))),
            Value::List(values) => {
                for (at, value) in values.iter().enumerate() {
                    let Value::Message(inner) = value else { continue };
                    self.visit(inner, &|inner| {
                        let mut values = values.clone();
                        values[at] = Value::Message(inner);
                        set(Value::List(values))
                    });
                }
            }
            Value::Map(values) => {
                for (key, value) in values {
                    let Value::Message(inner) = value else { continue };
                    self.visit(inner, &|inner| {
                        let mut values = values.clone();
                        values.insert(key.clone(), Value::Message(inner));
                        set(Value::Map(values))
                    });
                }
            }
            _ => {}
        }
    }

    fn visit_any(&mut self, any: &DynamicMessage, rebuild: Rebuild<'_>) {
        let text = any.get_field_by_name("type_url").unwrap();
        let name = text.as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        let Some(descriptor) = convert::carried_message(&name) else {
            return;
        };
        let bytes = any.get_field_by_name("value").unwrap().as_bytes().unwrap().clone();
        let inner = DynamicMessage::decode(descriptor, bytes).unwrap();
        self.visit(&inner, &|inner| {
            let mut changed = any.clone();
            changed.set_field_by_name("value", Value::Bytes(inner.encode_to_vec().into()));
            rebuild(changed)
        });
    }

    /// Whether a configuration becomes another model, or is refused.
    fn differs(&self, changed: &DynamicMessage) -> bool {
        model(changed).map_or(true, |model| model != self.whole)
    }
}

/// The same message with a field taken away, and with another value in it.
fn variants(message: &DynamicMessage, field: &FieldDescriptor) -> Vec<DynamicMessage> {
    let mut variants = Vec::new();
    let mut with = |value: Option<Value>| {
        let mut changed = message.clone();
        match value {
            Some(value) => changed.set_field(field, value),
            None => changed.clear_field(field),
        }
        variants.push(changed);
    };
    if message.has_field(field) {
        with(None);
    }
    match (message.get_field(field).as_ref(), field.kind()) {
        (Value::Bool(value), _) => with(Some(Value::Bool(!value))),
        (Value::EnumNumber(value), Kind::Enum(descriptor)) => {
            for other in descriptor.values().filter(|other| other.number() != *value) {
                with(Some(Value::EnumNumber(other.number())));
            }
        }
        (Value::Message(wrapper), _) if wrapper.descriptor().full_name() == "google.protobuf.BoolValue" => {
            let value = wrapper.get_field_by_name("value").unwrap().as_bool().unwrap();
            let mut wrapper = wrapper.clone();
            wrapper.set_field_by_name("value", Value::Bool(!value));
            with(Some(Value::Message(wrapper)));
        }
        _ => {}
    }
    variants
}

/// The model as text; the error where the configuration is refused.
fn model(source: &DynamicMessage) -> Result<String, String> {
    if let Some(field) = convert::unsupported_fields(source, "").first() {
        return Err(format!("{} {}", field.path, field.reason));
    }
    let typed = pb::Bootstrap::decode(source.encode_to_vec().as_slice()).map_err(|error| error.to_string())?;
    let converted = convert_bootstrap(&typed).map_err(|error| error.to_string())?;
    Ok(format!("{converted:?}"))
}

#[test]
fn every_carried_field_has_an_effect() {
    let value = serde_saphyr::from_str(SOURCE).unwrap();
    let message = from_value(
        Path::new("carried.yaml"),
        &value,
        convert::carried_message(TYPE).unwrap(),
    )
    .unwrap();
    let whole = model(&message).unwrap();
    assert_eq!(
        model(&message).unwrap(),
        whole,
        "the text of a model is always the same"
    );
    let mut proof = Proof {
        whole,
        effects: BTreeMap::new(),
    };
    proof.visit(&message, &|changed| changed);

    let excepted: BTreeSet<String> = WITHOUT_EFFECT
        .iter()
        .flat_map(|(fields, _)| fields.iter().map(ToString::to_string))
        .collect();
    assert!(WITHOUT_EFFECT.len() < 10, "the list of reasons stays short");
    let mut wrong = Vec::new();
    for (type_name, fields) in convert::CARRIED {
        let descriptor = convert::carried_message(type_name).unwrap();
        for field in descriptor.fields() {
            let name = format!("{type_name}.{}", field.name());
            if *fields != "*" && !fields.split(' ').any(|carried| carried == field.name()) {
                continue;
            }
            match (proof.effects.get(&name), excepted.contains(&name)) {
                (Some(true), false) | (Some(false), true) => {}
                (Some(true), true) => wrong.push(format!("{name} is excepted and has an effect")),
                (Some(false), false) => wrong.push(format!("{name} is accepted without effect")),
                (None, _) => wrong.push(format!("{name} is not in tests/data/carried.yaml")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
