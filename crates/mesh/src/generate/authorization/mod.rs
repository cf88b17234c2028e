//! Who may call the workload: AuthorizationPolicies as RBAC filters, for requests and for connections (istio.io, "Authorization
//! Policy"; Envoy, "Role Based Access Control").
//!
//! One filter an action, in the order in which Istio asks them: CUSTOM, AUDIT, DENY, ALLOW. A rule is named
//! `ns[NAMESPACE]-policy[NAME]-rule[INDEX]` as Istio names it, so what a filter tells of a request names the policy. CUSTOM asks a
//! provider about requests; about connections nobody is asked, and what it selects of them is refused.

mod expression;
mod external;
mod matchers;
mod rule;

use std::collections::HashMap;
use std::sync::Arc;

use prost::{Message, Name};
use weft_api::authorization_policy::{Action, AuthorizationPolicy};
use weft_api::extension_provider::ExtensionProvider;
use weft_api::meta::Object;
use weft_proto::xds::envoy::config::listener::v3 as listener;
use weft_proto::xds::envoy::config::rbac::v3 as pb;
use weft_proto::xds::envoy::extensions::filters::http::rbac::v3 as http;
use weft_proto::xds::envoy::extensions::filters::network::http_connection_manager::v3::{HttpFilter, http_filter};
use weft_proto::xds::envoy::extensions::filters::network::rbac::v3 as network;
use weft_proto::xds::google::protobuf::Any;

use self::rule::Rules;
use super::canonical;
use super::wire::network_filter;
use crate::snapshot::is_dry_run;
use crate::view::ProxyView;

const HTTP: &str = "envoy.filters.http.rbac";
const NETWORK: &str = "envoy.filters.network.rbac";
/// Prefix of the statistics of connections (Istio's; Envoy wants one).
const NETWORK_STAT_PREFIX: &str = "tcp.";

/// The filters in front of a workload, made once and put into each of its chains.
#[derive(Clone, Debug, Default)]
pub(super) struct Access {
    requests: Vec<HttpFilter>,
    connections: Vec<listener::Filter>,
}

/// What a filter is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Request,
    /// A connection whose bytes are forwarded: nothing of HTTP is known of it.
    Connection,
}

/// The filters of one action, in the order in which they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Custom,
    Audit,
    Deny,
    Allow,
}

/// What one filter is told: rules that count and rules that are tried out.
#[derive(Default)]
struct Found {
    enforced: Option<HashMap<String, pb::Policy>>,
    tried: Option<HashMap<String, pb::Policy>>,
}

// === impl Access ===

impl Access {
    /// Nobody is kept out.
    pub(super) fn open() -> Self {
        Self::default()
    }

    /// What the policies of a proxy's workload say.
    pub(super) fn of(view: &ProxyView) -> Self {
        let authorization = &view.snapshot.authorization;
        let policies: Vec<_> = authorization
            .policies(view.namespace(), &view.workload.labels)
            .collect();
        let mut access = Self::default();
        for step in Step::ALL {
            if let Some(found) = found(view, &policies, step, Subject::Request) {
                match provider(view, &policies).filter(|_| step == Step::Custom) {
                    Some(provider) => access
                        .requests
                        .extend(external::filters(provider, found.enforced.unwrap_or_default())),
                    None => access.requests.push(found.into_requests(step)),
                }
            }
            if let Some(found) = found(view, &policies, step, Subject::Connection) {
                access.connections.push(found.into_connections(step));
            }
        }
        access
    }

    /// The filters of requests.
    pub(super) fn requests(&self) -> impl Iterator<Item = HttpFilter> {
        self.requests.iter().cloned()
    }

    /// The filters of connections.
    pub(super) fn connections(&self) -> impl Iterator<Item = listener::Filter> {
        self.connections.iter().cloned()
    }
}

/// The provider that is asked; `None` where policies name none that is known, or several, of which nobody knows whom to ask first (Istio
/// has none asked then, too). What they select is refused in that case.
fn provider<'a>(view: &'a ProxyView, policies: &[&Arc<Object<AuthorizationPolicy>>]) -> Option<&'a ExtensionProvider> {
    let mut names = policies.iter().filter_map(|object| match &object.spec.action {
        Action::Custom { provider } if !is_dry_run(object) => Some(provider.as_str()),
        Action::Custom { .. } | Action::Allow | Action::Deny | Action::Audit => None,
    });
    let first = names.next()?;
    if names.any(|other| other != first) {
        return None;
    }
    view.snapshot.settings.provider(first)
}

/// The rules of one action; `None` where no policy has it.
fn found(
    view: &ProxyView,
    policies: &[&Arc<Object<AuthorizationPolicy>>],
    step: Step,
    subject: Subject,
) -> Option<Found> {
    let mut found = Found::default();
    for object in policies.iter().filter(|object| Step::of(&object.spec.action) == step) {
        let into = match (is_dry_run(object), step) {
            (false, _) => &mut found.enforced,
            (true, Step::Deny | Step::Allow) => &mut found.tried,
            // There is nothing to be refused, or nobody to be asked.
            (true, Step::Custom | Step::Audit) => continue,
        };
        let into = into.get_or_insert_default();
        let meta = &object.meta;
        let name = |index: usize| format!("ns[{}]-policy[{}]-rule[{index}]", meta.namespace, meta.name);
        if object.spec.rules.is_empty() {
            into.insert(name(0), rule::never());
        }
        let rules = Rules::new(view, &meta.namespace, step, subject);
        for (index, rule) in object.spec.rules.iter().enumerate() {
            if let Some(policy) = rules.policy(rule) {
                into.insert(name(index), policy);
            }
        }
    }
    (found.enforced.is_some() || found.tried.is_some()).then_some(found)
}

// === impl Step ===

impl Step {
    const ALL: [Self; 4] = [Self::Custom, Self::Audit, Self::Deny, Self::Allow];

    fn of(action: &Action) -> Self {
        match action {
            Action::Custom { .. } => Self::Custom,
            Action::Audit => Self::Audit,
            Action::Deny => Self::Deny,
            Action::Allow => Self::Allow,
        }
    }

    fn action(self) -> pb::rbac::Action {
        match self {
            Self::Custom | Self::Deny => pb::rbac::Action::Deny,
            Self::Audit => pb::rbac::Action::Log,
            Self::Allow => pb::rbac::Action::Allow,
        }
    }

    /// What the results of rules that are tried out are filed under (Istio's).
    fn shadow_prefix(self) -> &'static str {
        match self {
            Self::Deny => "istio_dry_run_deny_",
            Self::Allow => "istio_dry_run_allow_",
            Self::Custom | Self::Audit => "",
        }
    }

    fn rules(self, policies: HashMap<String, pb::Policy>) -> pb::Rbac {
        pb::Rbac {
            action: self.action() as i32,
            policies,
            ..pb::Rbac::default()
        }
    }
}

// === impl Found ===

impl Found {
    fn into_requests(self, step: Step) -> HttpFilter {
        let shadow_rules = self.tried.map(|policies| step.rules(policies));
        let config = http::Rbac {
            rules: self.enforced.map(|policies| step.rules(policies)),
            shadow_rules_stat_prefix: shadow_rules.as_ref().map_or("", |_| step.shadow_prefix()).to_owned(),
            shadow_rules,
            ..http::Rbac::default()
        };
        HttpFilter {
            name: HTTP.to_owned(),
            config_type: Some(http_filter::ConfigType::TypedConfig(sorted(&config))),
            ..HttpFilter::default()
        }
    }

    fn into_connections(self, step: Step) -> listener::Filter {
        let shadow_rules = self.tried.map(|policies| step.rules(policies));
        let config = network::Rbac {
            rules: self.enforced.map(|policies| step.rules(policies)),
            shadow_rules_stat_prefix: shadow_rules.as_ref().map_or("", |_| step.shadow_prefix()).to_owned(),
            shadow_rules,
            stat_prefix: NETWORK_STAT_PREFIX.to_owned(),
            ..network::Rbac::default()
        };
        network_filter(NETWORK, sorted(&config))
    }
}

/// A filter's configuration, its policies in the order of their names.
fn sorted<T: Message + Name>(config: &T) -> Any {
    Any {
        type_url: T::type_url(),
        value: canonical::rbac(config.encode_to_vec()),
    }
}
