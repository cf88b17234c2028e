//! What proxies refused, as findings about the objects that it was made from.

use std::collections::BTreeMap;

use weft_api::diagnostic::{Diagnostic, Severity, code};
use weft_mesh::generate::{Generated, Writer, writer};
use weft_proto::ads::Kind;

use super::connections::Connected;
use super::refused::Refusal;
use super::stream::TypeStream;

/// Most proxies that one finding names.
const NAMED_MAX: usize = 3;

/// Most findings about refusals at a time.
const FINDINGS_MAX: usize = 100;

/// One resource that a client refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RefusedResource {
    pub kind: Kind,
    /// Its name; empty where the client did not say which one it meant.
    pub name: String,
    /// What the client said.
    pub reason: String,
    /// Whose object it was made from, where that is known.
    pub writer: Option<Writer>,
}

/// What a client refuses, with the objects that it was made from.
pub(super) fn refused(types: &BTreeMap<Kind, TypeStream>, served: Option<&Generated>) -> Vec<RefusedResource> {
    let all = types.iter().flat_map(|(kind, stream)| {
        let refused = stream.progress().refused.iter();
        refused.map(move |refusal| (*kind, refusal))
    });
    let one = |(kind, refusal): (Kind, &Refusal)| {
        let resource = served.and_then(|served| served.of(kind).get(&refusal.name));
        RefusedResource {
            kind,
            name: refusal.name.to_string(),
            reason: refusal.reason.to_string(),
            writer: resource.and_then(|resource| writer(kind, resource, &refusal.reason)),
        }
    };
    all.map(one).collect()
}

/// One finding for each resource that is refused now, whoever refuses it.
pub fn refusals(connected: &[Connected]) -> Vec<Diagnostic> {
    let mut by_resource: BTreeMap<&RefusedResource, Vec<String>> = BTreeMap::new();
    for proxy in connected {
        let name = format!("{}.{}", proxy.node.pod, proxy.node.namespace);
        for refused in &proxy.refused {
            by_resource.entry(refused).or_default().push(name.clone());
        }
    }
    by_resource.into_iter().take(FINDINGS_MAX).map(finding).collect()
}

fn finding((refused, mut proxies): (&RefusedResource, Vec<String>)) -> Diagnostic {
    proxies.sort();
    proxies.dedup();
    let more = proxies.len().saturating_sub(NAMED_MAX);
    let mut named = proxies.into_iter().take(NAMED_MAX).collect::<Vec<_>>().join(", ");
    if more > 0 {
        named.push_str(&format!(" and {more} more"));
    }
    let kind = refused.kind.type_url().rsplit('.').next().unwrap_or_default();
    let which = if refused.name.is_empty() {
        "something".to_owned()
    } else {
        refused.name.clone()
    };
    let writer = refused.writer.clone().unwrap_or_default();
    Diagnostic {
        file: writer.file.into(),
        line: writer.line,
        column: 0,
        severity: Severity::Error,
        code: code::REFUSED_BY_PROXY.into(),
        object: writer.object,
        field: String::new(),
        message: format!("refused by {named}, {kind} {which}: {}", refused.reason.trim_end()),
        hint: "of what they refuse the proxies keep what was before, or close it".to_owned(),
    }
}
