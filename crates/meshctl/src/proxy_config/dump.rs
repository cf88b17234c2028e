//! The sections of an Envoy `/config_dump` (`envoy.admin.v3`), and how to walk them.

use serde_json::Value;

use crate::exit::Failure;

/// A configuration dump.
#[derive(Debug)]
pub(crate) struct Dump {
    sections: Vec<Value>,
}

/// A secret and whether it is in use.
#[derive(Debug)]
pub(crate) struct DumpedSecret<'a> {
    pub(crate) name: &'a str,
    pub(crate) status: &'static str,
    pub(crate) secret: &'a Value,
}

// === impl Dump ===

impl Dump {
    /// Takes the JSON of the page.
    pub(crate) fn new(mut page: Value) -> Result<Self, Failure> {
        match page.get_mut("configs").map(Value::take) {
            Some(Value::Array(sections)) => Ok(Self { sections }),
            _ => Err(Failure::bad_data(
                "this is no Envoy configuration dump: it has no list \"configs\"",
            )),
        }
    }

    /// Clusters in use.
    pub(crate) fn clusters(&self) -> Vec<&Value> {
        let section = self.section("ClustersConfigDump");
        let of = |list: &'static str| list_of(section, list).filter_map(|entry| entry.get("cluster"));
        of("static_clusters").chain(of("dynamic_active_clusters")).collect()
    }

    /// Listeners in use.
    pub(crate) fn listeners(&self) -> Vec<&Value> {
        let section = self.section("ListenersConfigDump");
        let fixed = list_of(section, "static_listeners").filter_map(|entry| entry.get("listener"));
        let dynamic =
            list_of(section, "dynamic_listeners").filter_map(|entry| entry.get("active_state")?.get("listener"));
        fixed.chain(dynamic).collect()
    }

    /// Route tables in use.
    pub(crate) fn routes(&self) -> Vec<&Value> {
        let section = self.section("RoutesConfigDump");
        let of = |list: &'static str| list_of(section, list).filter_map(|entry| entry.get("route_config"));
        of("static_route_configs").chain(of("dynamic_route_configs")).collect()
    }

    /// Secrets, in use or on their way.
    pub(crate) fn secrets(&self) -> Vec<DumpedSecret<'_>> {
        let section = self.section("SecretsConfigDump");
        let of = |list: &'static str, status| {
            list_of(section, list).filter_map(move |entry| {
                let secret = entry.get("secret")?;
                let name = text(entry, "name").or_else(|| text(secret, "name"))?;
                Some(DumpedSecret { name, status, secret })
            })
        };
        of("static_secrets", "ACTIVE")
            .chain(of("dynamic_active_secrets", "ACTIVE"))
            .chain(of("dynamic_warming_secrets", "WARMING"))
            .collect()
    }

    /// The secrets as they are in the dump.
    pub(crate) fn secret_values(&self) -> Vec<&Value> {
        self.secrets().into_iter().map(|dumped| dumped.secret).collect()
    }

    fn section(&self, kind: &str) -> Option<&Value> {
        self.sections.iter().find(|section| {
            let name = text(section, "@type").unwrap_or_default();
            name.rsplit('.').next() == Some(kind)
        })
    }
}

/// The text of a field.
pub(crate) fn text<'a>(value: &'a Value, field: &str) -> Option<&'a str> {
    value.get(field)?.as_str()
}

/// The elements of a list; none where it is absent.
pub(crate) fn list<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.get(field).and_then(Value::as_array).into_iter().flatten()
}

/// The texts of a list, joined.
pub(crate) fn joined(value: &Value, field: &str) -> String {
    list(value, field)
        .filter_map(Value::as_str)
        .collect::<Vec<_>>()
        .join(",")
}

fn list_of<'a>(section: Option<&'a Value>, field: &'static str) -> impl Iterator<Item = &'a Value> + use<'a> {
    section.into_iter().flat_map(move |section| list(section, field))
}

/// The user's object that a resource was made of, as `name.namespace`: from Istio's metadata (a path such as
/// `/apis/networking.istio.io/v1/namespaces/NS/destination-rule/NAME`) or from our own (`Kind/NS/NAME`).
pub(crate) fn origin(resource: &Value, istio_kind: &str, own_kind: &str) -> Option<String> {
    let metadata = resource.get("metadata")?.get("filter_metadata")?;
    let istio = metadata.get("istio").and_then(|istio| text(istio, "config"));
    if let Some(path) = istio {
        let words: Vec<&str> = path.rsplit('/').take(3).collect();
        if let [name, kind, namespace] = words[..]
            && kind == istio_kind
        {
            return Some(format!("{name}.{namespace}"));
        }
    }
    let own = metadata.get("weft").and_then(|weft| text(weft, "object"))?;
    let mut words = own.split('/');
    match (words.next(), words.next(), words.next()) {
        (Some(kind), Some(namespace), Some(name)) if kind == own_kind => Some(format!("{name}.{namespace}")),
        _ => None,
    }
}
