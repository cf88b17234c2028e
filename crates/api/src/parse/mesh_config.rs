//! Reader of ConfigMap `istio`, whose key `mesh` holds mesh-wide settings as YAML within the YAML.

use super::extension_provider;
use super::fields::Fields;
use super::format;
use super::report::Report;
use super::tree::{self, Chunk, Node, Value};
use crate::diagnostic::{Severity, code};
use crate::mesh_config::{LogEncoding, MeshConfig};
use crate::meta::Position;
use crate::sidecar::OutboundPolicy;

/// Keys whose value is the only thing that this mesh does, so that they say nothing new.
const AS_IS: &[(&str, &str)] = &[
    ("enablePrometheusMerge", "true"),
    ("enableTracing", "true"),
    ("ingressControllerMode", "OFF"),
    ("inboundTrafficPolicy", "{mode: PASSTHROUGH}"),
];

/// Reads the ConfigMap; `None` if its mesh configuration cannot be read. Without one everything is as it is by default. Keys that this
/// mesh does not carry out are reported one by one, and the others apply all the same.
pub(super) fn config_map(fields: &mut Fields<'_, '_>) -> Option<MeshConfig> {
    fields.ignore(&["binaryData", "immutable"]);
    if fields.get("data").is_none() {
        return Some(MeshConfig::default());
    }
    fields
        .map("data", |f| {
            let config = match f.get("mesh") {
                None => Some(MeshConfig::default()),
                Some(_) => f.with("mesh", mesh).flatten(),
            };
            f.ignore_rest();
            config
        })
        .flatten()
}

fn mesh(report: &mut Report, node: &Node) -> Option<MeshConfig> {
    let text = report.text(node)?;
    let chunk = Chunk {
        text: &text,
        // The value starts on its own first line, block or not.
        lines_before: node.at.line.saturating_sub(1),
    };
    match tree::read(chunk) {
        Ok(None) => Some(MeshConfig::default()),
        // What a server gave has no lines, and so have the lines within it none.
        Ok(Some(inner)) if node.at == Position::default() => report.map(&inner.without_places(), read),
        Ok(Some(inner)) => report.map(&inner, read),
        Err(error) => {
            report.add(Severity::Error, code::SYNTAX, error.at, error.message, error.hint);
            None
        }
    }
}

fn read(fields: &mut Fields<'_, '_>) -> MeshConfig {
    let mut config = MeshConfig {
        trust_domain: fields.text("trustDomain"),
        trust_domain_aliases: fields.with("trustDomainAliases", |report, node| report.list(node, Report::text)),
        root_namespace: fields.text("rootNamespace"),
        access_log_file: fields.text("accessLogFile"),
        access_log_format: fields.text("accessLogFormat").filter(|format| !format.is_empty()),
        access_log_encoding: fields.choice(
            "accessLogEncoding",
            &[("TEXT", LogEncoding::Text), ("JSON", LogEncoding::Json)],
        ),
        outbound_policy: fields
            .map("outboundTrafficPolicy", |f| {
                f.choice(
                    "mode",
                    &[
                        ("ALLOW_ANY", OutboundPolicy::AllowAny),
                        ("REGISTRY_ONLY", OutboundPolicy::RegistryOnly),
                    ],
                )
            })
            .flatten(),
        connect_timeout: fields.positive_duration("connectTimeout"),
        auto_mtls: fields.flag("enableAutoMtls"),
        extension_providers: extension_provider::providers(fields),
        dns_refresh_rate: fields.positive_duration("dnsRefreshRate"),
    };
    log_format(fields, &mut config);
    for (name, node) in fields.unread() {
        let same = AS_IS
            .iter()
            .any(|(known, value)| *known == name && plain(node) == *value);
        if !same {
            let at = node.at;
            fields.report().field(&name, |report| {
                let message = "is not carried out by this mesh and has no effect; the other settings apply";
                report.add(Severity::Warning, code::UNSUPPORTED_FIELD, at, message, "");
            });
        }
    }
    fields.ignore_rest();
    config
}

/// Takes away a format that proxies would refuse: with it they would refuse every listener, whatever else is in it.
fn log_format(fields: &mut Fields<'_, '_>, config: &mut MeshConfig) {
    let Some(format) = &config.access_log_format else {
        return;
    };
    let (checked, hint) = match config.access_log_encoding {
        Some(LogEncoding::Json) => (
            format::check_json(format),
            "write an object of operators that proxies have, or use encoding TEXT",
        ),
        Some(LogEncoding::Text) | None => (
            format::check(format),
            "write operators that proxies have, and %% for a percent sign",
        ),
    };
    let Err(reason) = checked else {
        return;
    };
    config.access_log_format = None;
    let at = fields.place("accessLogFormat");
    fields.report().field("accessLogFormat", |report| {
        let message = format!("{reason}; the default format is used, and the other settings apply");
        report.part(code::SCHEMA, at, message, hint);
    });
}

/// A value in one line.
fn plain(node: &Node) -> String {
    match &node.value {
        Value::Scalar { text, .. } => text.clone(),
        Value::List(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(", ")),
        Value::Map(entries) => {
            let entries = entries
                .iter()
                .map(|entry| format!("{}: {}", entry.key, plain(&entry.node)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}
