//! One rule as an RBAC policy: what it says of the operation as permissions, what it says of the caller as principals (Istio:
//! `pilot/pkg/security/authz/model`).
//!
//! Of a connection nothing of HTTP is known. There a rule of ALLOW that asks for it is left out, and any other loses what it cannot ask:
//! less is allowed, never more.

use weft_api::authorization_policy::{
    Condition, OneOf, Operation, PathPattern, RequestPrincipal, Rule, Source, Wildcard,
};
use weft_api::local_workload::Role;
use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::config::rbac::v3 as pb;
use weft_proto::xds::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig;
use weft_proto::xds::envoy::r#type::matcher::v3 as matcher;

use super::expression::{Expression, add, all, either, permission, principal};
use super::{Step, Subject, matchers};
use crate::generate::wire::any;
use crate::snapshot::{MeshSettings, Workload};
use crate::view::ProxyView;

/// Stands in principals for the trust domain of the mesh, whatever its name (Istio).
const LOCAL_TRUST_DOMAIN: &str = "cluster.local";

/// What rules of one policy are read with.
pub(super) struct Rules<'a> {
    settings: &'a MeshSettings,
    workload: &'a Workload,
    /// Namespace of the policy.
    namespace: &'a str,
    step: Step,
    subject: Subject,
}

/// A policy that matches nothing, for one without rules.
pub(super) fn never() -> pb::Policy {
    pb::Policy {
        permissions: vec![Expression::not(pb::Permission::any())],
        principals: vec![Expression::not(pb::Principal::any())],
        ..pb::Policy::default()
    }
}

// === impl Rules ===

impl<'a> Rules<'a> {
    pub(super) fn new(view: &'a ProxyView, namespace: &'a str, step: Step, subject: Subject) -> Self {
        Self {
            settings: &view.snapshot.settings,
            workload: &view.workload,
            namespace,
            step,
            subject,
        }
    }

    /// The policy of a rule; `None` where it can allow nothing.
    pub(super) fn policy(&self, rule: &Rule) -> Option<pb::Policy> {
        if self.subject == Subject::Connection && self.step == Step::Allow && rule.is_of_http() {
            return None;
        }
        let any = [Operation::default()];
        let to = if rule.to.is_empty() { &any[..] } else { &rule.to };
        let anyone = [Source::default()];
        let from = if rule.from.is_empty() { &anyone[..] } else { &rule.from };
        Some(pb::Policy {
            permissions: to.iter().map(|to| self.permission(to, &rule.when)).collect(),
            principals: from.iter().map(|from| self.principal(from, &rule.when)).collect(),
            ..pb::Policy::default()
        })
    }

    fn permission(&self, to: &Operation, when: &[Condition]) -> pb::Permission {
        use pb::permission::Rule as Leaf;
        let mut parts = Vec::new();
        if self.subject == Subject::Request {
            let host = |value: &Wildcard| permission(Leaf::Header(matchers::header(":authority", value, true)));
            let method = |value: &Wildcard| permission(Leaf::Header(matchers::header(":method", value, false)));
            add(&mut parts, &to.hosts, host);
            add(&mut parts, &to.methods, method);
            add(&mut parts, &to.paths, path);
        }
        add(&mut parts, &to.ports, |port| self.port(*port));
        for condition in when {
            match condition {
                Condition::DestinationIp(values) => {
                    add(&mut parts, values, |block| {
                        permission(Leaf::DestinationIp(matchers::block(block)))
                    });
                }
                Condition::DestinationPort(values) => add(&mut parts, values, |port| self.port(*port)),
                Condition::Sni(values) => {
                    let name = |name: &Wildcard| permission(Leaf::RequestedServerName(matchers::string(name)));
                    add(&mut parts, values, name);
                }
                Condition::Metadata { filter, key, values } => {
                    let left = |values: &[_]| permission(Leaf::SourcedMetadata(matchers::left_by(filter, key, values)));
                    add_whole(&mut parts, values, left);
                }
                // These are about the caller.
                Condition::Header(..)
                | Condition::SourceIp(_)
                | Condition::RemoteIp(_)
                | Condition::SourceNamespace(_)
                | Condition::SourcePrincipal(_)
                | Condition::SourceServiceAccount(_)
                | Condition::RequestPrincipal(_)
                | Condition::Claim(..) => {}
            }
        }
        all(parts)
    }

    /// A port as the application has it. Proxies that are not in a pod listen somewhere else than their application.
    fn port(&self, port: u16) -> pb::Permission {
        let workload = self.workload;
        let listening: Vec<u16> = match workload.role {
            _ if workload.is_pod() => Vec::new(),
            Role::Gateway => workload.gateway_port(port).into_iter().collect(),
            Role::Sidecar => workload
                .ports
                .iter()
                .filter(|known| known.app_port == port || known.declared_port == port)
                .map(|known| known.mesh_port)
                .collect(),
        };
        let leaf = |port: u16| permission(pb::permission::Rule::DestinationPort(u32::from(port)));
        either(listening.into_iter().map(leaf)).unwrap_or_else(|| leaf(port))
    }

    fn principal(&self, from: &Source, when: &[Condition]) -> pb::Principal {
        let mut parts = Vec::new();
        self.principals(&mut parts, &from.principals);
        if self.subject == Subject::Request {
            add(&mut parts, &from.request_principals, request_principal);
        }
        self.service_accounts(&mut parts, &from.service_accounts);
        add(&mut parts, &from.namespaces, |name| {
            authenticated(matchers::namespace(name))
        });
        self.trust_domains(&mut parts, &from.trust_domains);
        add(&mut parts, &from.remote_ip_blocks, remote_ip);
        add(&mut parts, &from.ip_blocks, source_ip);
        for condition in when {
            self.condition(&mut parts, condition);
        }
        all(parts)
    }

    fn condition(&self, parts: &mut Vec<pb::Principal>, condition: &Condition) {
        use pb::principal::Identifier;
        match condition {
            Condition::SourceIp(values) => add(parts, values, source_ip),
            Condition::RemoteIp(values) => add(parts, values, remote_ip),
            Condition::SourceNamespace(values) => {
                add(parts, values, |name| authenticated(matchers::namespace(name)));
            }
            Condition::SourcePrincipal(values) => self.principals(parts, values),
            Condition::SourceServiceAccount(values) => self.service_accounts(parts, values),
            Condition::Header(..) | Condition::RequestPrincipal(_) | Condition::Claim(..)
                if self.subject == Subject::Connection => {}
            Condition::Header(name, values) => {
                add(parts, values, |value| {
                    principal(Identifier::Header(matchers::header(name, value, false)))
                });
            }
            Condition::RequestPrincipal(values) => add(parts, values, request_principal),
            Condition::Claim(path, values) => {
                let claim = |values: &[_]| principal(Identifier::SourcedMetadata(matchers::claim(path, values)));
                add_whole(parts, values, claim);
            }
            // These are about the operation.
            Condition::DestinationIp(_)
            | Condition::DestinationPort(_)
            | Condition::Sni(_)
            | Condition::Metadata { .. } => {}
        }
    }

    fn principals(&self, parts: &mut Vec<pb::Principal>, values: &OneOf<Wildcard>) {
        let expanded = OneOf {
            values: values.values.iter().flat_map(|value| self.aliases(value)).collect(),
            not_values: values.not_values.iter().flat_map(|value| self.aliases(value)).collect(),
        };
        add(parts, &expanded, |value| authenticated(matchers::identity(value)));
    }

    fn service_accounts(
        &self,
        parts: &mut Vec<pb::Principal>,
        values: &OneOf<weft_api::authorization_policy::ServiceAccount>,
    ) {
        add(parts, values, |account| {
            let namespace = account.namespace.as_deref().unwrap_or(self.namespace);
            authenticated(matchers::service_account(namespace, &account.name))
        });
    }

    fn trust_domains(&self, parts: &mut Vec<pb::Principal>, values: &OneOf<Wildcard>) {
        let expand = |values: &[Wildcard]| -> Vec<Wildcard> {
            let one = |value: &Wildcard| match value {
                Wildcard::Exact(name) if self.is_own(name) => self.domains().map(exactly).collect(),
                other @ (Wildcard::Present | Wildcard::Exact(_) | Wildcard::Prefix(_) | Wildcard::Suffix(_)) => {
                    vec![other.clone()]
                }
            };
            values.iter().flat_map(one).collect()
        };
        let expanded = OneOf {
            values: expand(&values.values),
            not_values: expand(&values.not_values),
        };
        add(parts, &expanded, |value| authenticated(matchers::trust_domain(value)));
    }

    /// The trust domain of the mesh and its other names.
    fn domains(&self) -> impl Iterator<Item = &'a str> {
        let others = self.settings.trust_domain_aliases.iter().map(String::as_str);
        std::iter::once(self.settings.trust_domain.as_str()).chain(others)
    }

    fn is_own(&self, name: &str) -> bool {
        name == LOCAL_TRUST_DOMAIN || self.domains().any(|domain| domain == name)
    }

    /// A principal in the trust domain under each of its names. One that is not of the form `DOMAIN/ns/NAMESPACE/sa/ACCOUNT`, or of
    /// another domain, stays as it is (Istio: `ReplaceTrustDomainAliases`).
    fn aliases(&self, value: &Wildcard) -> Vec<Wildcard> {
        let (text, rebuild): (&str, fn(String) -> Wildcard) = match value {
            Wildcard::Exact(text) => (text, Wildcard::Exact),
            Wildcard::Prefix(text) => (text, Wildcard::Prefix),
            Wildcard::Suffix(text) => (text, Wildcard::Suffix),
            Wildcard::Present => return vec![value.clone()],
        };
        let Some((domain, rest)) = text.split_once('/').filter(|(_, rest)| rest.split('/').count() == 4) else {
            return vec![value.clone()];
        };
        match value {
            Wildcard::Suffix(_) => {
                // `*-td/...`: names that end so are meant already.
                let (meant, others): (Vec<&str>, Vec<&str>) = self.domains().partition(|name| name.ends_with(domain));
                if domain.is_empty() || meant.is_empty() {
                    return vec![value.clone()];
                }
                let others = others.into_iter().map(|name| Wildcard::Exact(format!("{name}/{rest}")));
                std::iter::once(value.clone()).chain(others).collect()
            }
            _ if self.is_own(domain) => self.domains().map(|name| rebuild(format!("{name}/{rest}"))).collect(),
            Wildcard::Present | Wildcard::Exact(_) | Wildcard::Prefix(_) => vec![value.clone()],
        }
    }
}

fn exactly(text: &str) -> Wildcard {
    Wildcard::Exact(text.to_owned())
}

/// Adds what several values say together, and the same of those that may not be.
fn add_whole<T, E: Expression>(into: &mut Vec<E>, values: &OneOf<T>, make: impl Fn(&[T]) -> E) {
    if !values.values.is_empty() {
        into.push(make(&values.values));
    }
    if !values.not_values.is_empty() {
        into.push(E::not(make(&values.not_values)));
    }
}

fn path(pattern: &PathPattern) -> pb::Permission {
    use pb::permission::Rule as Leaf;
    match pattern {
        PathPattern::Text(text) => permission(Leaf::UrlPath(matchers::path(text))),
        PathPattern::Template(template) => {
            // Envoy writes its wildcards without braces.
            let path_template = template.replace("{*}", "*").replace("{**}", "**");
            permission(Leaf::UriTemplate(core::TypedExtensionConfig {
                name: "uri-template".to_owned(),
                typed_config: Some(any(&UriTemplateMatchConfig { path_template })),
            }))
        }
    }
}

/// The peer of a connection, by its certificate.
fn authenticated(name: matcher::StringMatcher) -> pb::Principal {
    principal(pb::principal::Identifier::Authenticated(pb::principal::Authenticated {
        principal_name: Some(name),
    }))
}

fn source_ip(block: &ipnet::IpNet) -> pb::Principal {
    principal(pb::principal::Identifier::DirectRemoteIp(matchers::block(block)))
}

fn remote_ip(block: &ipnet::IpNet) -> pb::Principal {
    principal(pb::principal::Identifier::RemoteIp(matchers::block(block)))
}

/// Issuer and subject of the token.
fn request_principal(value: &RequestPrincipal) -> pb::Principal {
    let part = |name: &str, wanted: &Wildcard| {
        principal(pb::principal::Identifier::SourcedMetadata(matchers::claim_text(
            name, wanted,
        )))
    };
    all(vec![part("iss", &value.issuer), part("sub", &value.subject)])
}
