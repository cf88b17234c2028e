//! One discovered resource, from its bytes to the checked model: what of it is taken, and what is refused.

use std::rc::Rc;
use std::sync::Arc;

use prost::Message;
use prost_reflect::DynamicMessage;
use weft_proto::ads::Kind;
use weft_proto::xds::envoy::config::{cluster, endpoint, listener, route};
use weft_proto::xds::envoy::extensions::transport_sockets::tls::v3 as tls;

use super::names;
use super::resource::Resource;
use crate::compile;
use crate::dns::NameTable;
use crate::model::cluster::{Cluster, LoadAssignment, Security};
use crate::model::convert::{self, ConvertError, Path, Refusals, Unsupported};
use crate::model::listener::Listener;
use crate::model::route::RouteConfig;
use crate::model::secret::Secret;
use crate::tls::material;

/// A resource in its checked form.
pub(super) enum Checked {
    Cluster(Cluster),
    /// What protects a cluster of which all else is refused.
    ClusterSecurity(Security),
    Endpoints(LoadAssignment),
    Listener(Listener),
    Routes(RouteConfig),
    Secret(Secret),
    Names(NameTable),
    ApplicationEnded,
}

/// What there is to a resource.
pub(super) struct Read {
    /// Its name as far as it is known; empty where it is not.
    pub name: Arc<str>,
    /// What is taken; `None` where it is refused as a whole.
    pub taken: Option<Checked>,
    /// Where too little of it is taken to stand alone and there is none of before: what closes what it would have been for.
    pub stand_in: Option<Checked>,
    /// Every part that is refused, with its place.
    pub refused: Vec<String>,
}

/// Reads a resource of a type. With `tolerate` fields that are not carried are left out with a warning.
pub(super) fn read(kind: Kind, resource: &Resource, tolerate: bool) -> Read {
    let name = &resource.name;
    if resource.body.type_url != kind.type_url() {
        let reason = format!("holds {}, expected {}", resource.body.type_url, kind.type_url());
        return Read::none(name, reason);
    }
    let bytes = resource.body.value.as_slice();
    match kind {
        Kind::Cluster => Reading::<cluster::v3::Cluster>::new(kind, resource, tolerate).finish(
            |source| &source.name,
            checked_cluster,
            |_| None,
        ),
        Kind::Endpoints => Reading::<endpoint::v3::ClusterLoadAssignment>::new(kind, resource, tolerate).finish(
            |source| &source.cluster_name,
            |source, at| convert::load_assignment(source, at).map(Checked::Endpoints),
            |source| Some(Checked::Endpoints(no_endpoints(&source.cluster_name))),
        ),
        Kind::Listener => Reading::<listener::v3::Listener>::new(kind, resource, tolerate).finish(
            |source| &source.name,
            checked_listener,
            |source| convert::closed_listener(source).map(Checked::Listener),
        ),
        Kind::Routes => Reading::<route::v3::RouteConfiguration>::new(kind, resource, tolerate).finish(
            |source| &source.name,
            |source, at| convert::route_config(source, at).map(Checked::Routes),
            |source| Some(Checked::Routes(convert::closed_routes(&source.name))),
        ),
        Kind::Secret => Reading::<tls::Secret>::new(kind, resource, tolerate).finish(
            |source| &source.name,
            checked_secret,
            |_| None,
        ),
        // The message is empty: that there is one says it all.
        Kind::ApplicationEnded => Read::whole(name, Checked::ApplicationEnded),
        Kind::Names => match names::table(bytes) {
            Ok(table) => Read::whole(name, Checked::Names(table)),
            Err(reason) => Read::none(name, reason),
        },
    }
}

/// A service without endpoints.
pub(super) fn no_endpoints(name: &str) -> LoadAssignment {
    LoadAssignment {
        name: Arc::from(name),
        localities: Vec::new(),
        overprovisioning_percent: 140,
    }
}

fn checked_cluster(source: &cluster::v3::Cluster, at: &Path) -> Result<Checked, ConvertError> {
    let security = convert::cluster_security(source, at)?;
    let whole = at.part(|at| convert::cluster(source, at))?;
    Ok(match (security, whole) {
        (Security::Taken(_), Some(cluster)) => Checked::Cluster(cluster),
        (security, _) => Checked::ClusterSecurity(security),
    })
}

/// A listener. Of chains that no connection could tell apart nobody knows which is meant, so that both are closed.
fn checked_listener(source: &listener::v3::Listener, at: &Path) -> Result<Checked, ConvertError> {
    let mut listener = convert::listener(source, at)?;
    while let Err(same) = compile::check(&listener) {
        at.field("filter_chains").part::<()>(|at| Err(at.error(&same)))?;
        // The later one first, so that the other's position holds.
        for position in [same.second, same.first] {
            let chain = listener.chains.remove(position);
            listener.refused.matches.push(chain.matches);
        }
    }
    Ok(Checked::Listener(listener))
}

fn checked_secret(source: &tls::Secret, at: &Path) -> Result<Checked, ConvertError> {
    let (_, secret) = convert::secret(source, at)?;
    material::check(&secret).map_err(|error| ConvertError {
        path: String::new(),
        reason: error.to_string(),
    })?;
    Ok(Checked::Secret(secret))
}

/// A resource that is a message of Envoy's.
struct Reading<T> {
    name: Arc<str>,
    decoded: Result<(T, Rc<Refusals>), String>,
}

// === impl Reading ===

impl<T: Message + Default> Reading<T> {
    fn new(kind: Kind, resource: &Resource, tolerate: bool) -> Self {
        let bytes = resource.body.value.as_slice();
        let decode = || {
            let source = T::decode(bytes).map_err(|error| format!("cannot be decoded: {error}"))?;
            let refusals = Refusals::new(not_carried(kind, bytes, tolerate)?);
            Ok((source, Rc::new(refusals)))
        };
        Self {
            name: resource.name.clone(),
            decoded: decode(),
        }
    }

    fn finish(
        self,
        name: impl Fn(&T) -> &String,
        convert: impl FnOnce(&T, &Path) -> Result<Checked, ConvertError>,
        stand_in: impl FnOnce(&T) -> Option<Checked>,
    ) -> Read {
        let (source, refusals) = match self.decoded {
            Ok(decoded) => decoded,
            Err(reason) => return Read::none(&self.name, reason),
        };
        // A part never fails: what is wrong is noted.
        let taken = Path::of_parts(&refusals).part(|at| convert(&source, at)).ok().flatten();
        Read {
            name: Arc::from(name(&source).as_str()),
            stand_in: if taken.as_ref().is_none_or(Checked::needs_before) {
                stand_in(&source)
            } else {
                None
            },
            taken,
            refused: refusals.found().iter().map(ToString::to_string).collect(),
        }
    }
}

// === impl Checked ===

impl Checked {
    /// Whether there is too little of it to stand without a version before.
    fn needs_before(&self) -> bool {
        match self {
            Self::Listener(listener) => listener.refused.settings,
            Self::ClusterSecurity(_) => true,
            Self::Cluster(_)
            | Self::Endpoints(_)
            | Self::Routes(_)
            | Self::Secret(_)
            | Self::Names(_)
            | Self::ApplicationEnded => false,
        }
    }
}

// === impl Read ===

impl Read {
    fn none(name: &Arc<str>, reason: String) -> Self {
        Self {
            name: name.clone(),
            taken: None,
            stand_in: None,
            refused: vec![reason],
        }
    }

    fn whole(name: &Arc<str>, checked: Checked) -> Self {
        Self {
            name: name.clone(),
            taken: Some(checked),
            stand_in: None,
            refused: Vec::new(),
        }
    }
}

/// The fields that are set and not carried.
fn not_carried(kind: Kind, bytes: &[u8], tolerate: bool) -> Result<Vec<Unsupported>, String> {
    let type_name = kind.type_url().rsplit('/').next().unwrap_or_default();
    let descriptor = convert::carried_message(type_name);
    let descriptor = descriptor.ok_or_else(|| format!("{type_name} is not in the descriptors"))?;
    let message = DynamicMessage::decode(descriptor, bytes).map_err(|error| error.to_string())?;
    let found = convert::unsupported_fields(&message, "");
    if !tolerate || found.is_empty() {
        return Ok(found);
    }
    let texts: Vec<String> = found
        .iter()
        .map(|field| format!("{} {}", field.path, field.reason))
        .collect();
    tracing::warn!(type_name, fields = texts.join("; "), "unsupported fields are left out");
    Ok(Vec::new())
}
