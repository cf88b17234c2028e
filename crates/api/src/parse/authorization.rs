//! Reader of AuthorizationPolicy. What Istio's validation refuses is refused (`pkg/config/validation`): above all a part that says
//! nothing, since nothing would match everything.

use super::authorization_values::{self as read, condition, one_of};
use super::fields::Fields;
use super::report::Report;
use super::tree::Node;
use super::values;
use crate::authorization_policy::{Action, AuthorizationPolicy, Condition, Operation, Rule, Source};
use crate::meta::Labels;

/// Most rules of a policy, and most sources, operations and conditions of a rule (Istio's limit of rules).
const ITEMS_MAX: usize = 512;

/// An AuthorizationPolicy without `spec`: lets nothing through.
pub(super) fn closed() -> AuthorizationPolicy {
    AuthorizationPolicy {
        selector: None,
        gateways: Vec::new(),
        action: Action::Allow,
        rules: Vec::new(),
    }
}

/// What `action` says, before `provider` is looked at.
#[derive(Clone, Copy, Debug)]
enum Word {
    Allow,
    Deny,
    Audit,
    Custom,
}

/// Reads `spec` of an AuthorizationPolicy.
pub(super) fn policy(fields: &mut Fields<'_, '_>) -> AuthorizationPolicy {
    let (selector, gateways) = whom(fields);
    let word = fields.choice(
        "action",
        &[
            ("ALLOW", Word::Allow),
            ("DENY", Word::Deny),
            ("AUDIT", Word::Audit),
            ("CUSTOM", Word::Custom),
        ],
    );
    let action = action(fields, word.unwrap_or(Word::Allow));
    fields.at_most("rules", ITEMS_MAX);
    let rules = fields.list("rules", |report, node| report.map(node, rule));
    let policy = AuthorizationPolicy {
        selector,
        gateways,
        action,
        rules,
    };
    let never = matches!(policy.action, Action::Deny | Action::Custom { .. }) && policy.rules.is_empty();
    if never && fields.get("rules").is_none_or(Node::is_empty_list) {
        fields.invalid(
            "rules",
            "are missing, so the policy would never match",
            "use `rules: [{}]` for every request",
        );
    }
    if matches!(policy.action, Action::Custom { .. }) {
        custom(fields, &policy.rules);
    }
    policy
}

fn action(fields: &mut Fields<'_, '_>, word: Word) -> Action {
    let provider = fields.map("provider", |f| f.text("name")).flatten();
    match word {
        Word::Custom => {
            let provider = provider.unwrap_or_default();
            if provider.is_empty() {
                let hint = "name an extension provider of the mesh configuration";
                fields.invalid("provider", "is missing or has no name", hint);
            }
            return Action::Custom { provider };
        }
        Word::Allow | Word::Deny | Word::Audit => {
            if fields.get("provider").is_some() {
                fields.invalid(
                    "provider",
                    "is for action CUSTOM alone",
                    "remove it, or use action CUSTOM",
                );
            }
        }
    }
    match word {
        Word::Deny => Action::Deny,
        Word::Audit => Action::Audit,
        Word::Allow | Word::Custom => Action::Allow,
    }
}

/// The workloads: by labels, or by the gateways that `targetRefs` or `targetRef` name.
fn whom(fields: &mut Fields<'_, '_>) -> (Option<Labels>, Vec<String>) {
    let set = fields.set_of(&["selector", "targetRef", "targetRefs"]);
    if let [first, second, ..] = set.as_slice() {
        fields.invalid(second, format!("excludes {first}"), "keep one of them");
    }
    fields.at_most("targetRefs", 16);
    let mut gateways: Vec<String> = fields.map("targetRef", target).flatten().into_iter().collect();
    gateways.extend(fields.list("targetRefs", |report, node| report.map(node, target).flatten()));
    (values::selector(fields, "selector", "matchLabels"), gateways)
}

/// The Gateway of a reference; a kind that is misspelt is taken for it, for what stands in. Istio enforces references to a Service, a
/// ServiceEntry or a GatewayClass in waypoints, which this mesh has not.
fn target(fields: &mut Fields<'_, '_>) -> Option<String> {
    let group = fields.text_or("group", "");
    let kind = fields.required_text("kind", "name the kind: Gateway");
    let name = fields.required_text("name", "name the Gateway");
    let is_gateway = kind == "Gateway" && group == "gateway.networking.k8s.io";
    if !kind.is_empty() && !is_gateway {
        let message = format!("{kind} of group {group:?} is not supported by this mesh, which has no waypoints for it");
        fields.invalid(
            "kind",
            message,
            "use Gateway of group gateway.networking.k8s.io, or selector",
        );
    }
    if fields.text("namespace").is_some_and(|namespace| !namespace.is_empty()) {
        let hint = "remove it: the policy is in the namespace of what it is for";
        fields.invalid("namespace", "is not possible", hint);
    }
    let of_waypoints = matches!(kind.as_str(), "Service" | "ServiceEntry" | "GatewayClass");
    (!of_waypoints && !name.is_empty()).then_some(name)
}

fn rule(fields: &mut Fields<'_, '_>) -> Rule {
    for name in ["from", "to", "when"] {
        fields.at_most(name, ITEMS_MAX);
    }
    for name in ["from", "to"] {
        if fields.get(name).is_some_and(Node::is_empty_list) {
            let hint = "name at least one, or leave the field away to match all";
            fields.invalid(name, "is empty", hint);
        }
    }
    Rule {
        from: fields.list("from", |report, node| part(report, node, "source", source)),
        to: fields.list("to", |report, node| part(report, node, "operation", operation)),
        when: fields.list("when", |report, node| report.map(node, condition).flatten()),
    }
}

/// `{source: {...}}` or `{operation: {...}}`.
fn part<T>(
    report: &mut Report,
    node: &Node,
    name: &'static str,
    read: impl FnOnce(&mut Fields<'_, '_>) -> T,
) -> Option<T> {
    let item = report.map(node, |f| {
        if f.get(name).is_none() {
            f.missing(name, "an item without it would match everything");
        }
        f.map(name, read)
    });
    item.flatten()
}

fn source(fields: &mut Fields<'_, '_>) -> Source {
    let source = Source {
        principals: one_of(fields, "principals", "notPrincipals", read::principal),
        request_principals: one_of(
            fields,
            "requestPrincipals",
            "notRequestPrincipals",
            read::request_principal,
        ),
        namespaces: one_of(fields, "namespaces", "notNamespaces", read::namespace),
        service_accounts: one_of(fields, "serviceAccounts", "notServiceAccounts", read::service_account),
        trust_domains: one_of(fields, "trustDomains", "notTrustDomains", read::wildcard),
        ip_blocks: one_of(fields, "ipBlocks", "notIpBlocks", read::ip_block),
        remote_ip_blocks: one_of(fields, "remoteIpBlocks", "notRemoteIpBlocks", read::ip_block),
    };
    if !source.service_accounts.is_empty() {
        for name in fields.set_of(&["principals", "notPrincipals", "namespaces", "notNamespaces"]) {
            fields.invalid(name, "excludes serviceAccounts", "keep one of them");
        }
    }
    says_something(fields);
    source
}

fn operation(fields: &mut Fields<'_, '_>) -> Operation {
    let operation = Operation {
        hosts: one_of(fields, "hosts", "notHosts", read::wildcard),
        ports: one_of(fields, "ports", "notPorts", read::port),
        methods: one_of(fields, "methods", "notMethods", read::wildcard),
        paths: one_of(fields, "paths", "notPaths", read::path),
    };
    says_something(fields);
    operation
}

/// Refuses a source or operation with no value in any of its fields.
fn says_something(fields: &mut Fields<'_, '_>) {
    if fields.is_without_values() {
        let at = fields.at;
        let hint = "give one of its fields a value; to match everything leave `from` or `to` away";
        fields
            .report()
            .invalid(at, "says nothing, so it would match everything", hint);
    }
}

/// What CUSTOM cannot be decided by, since it comes before tokens are checked (Istio: "is currently not supported with CUSTOM action").
fn custom(fields: &mut Fields<'_, '_>, rules: &[Rule]) {
    let by_identity = |source: &Source| {
        !(source.principals.is_empty()
            && source.request_principals.is_empty()
            && source.namespaces.is_empty()
            && source.service_accounts.is_empty())
    };
    let by_condition = |condition: &Condition| {
        matches!(
            condition,
            Condition::SourceNamespace(_)
                | Condition::SourcePrincipal(_)
                | Condition::SourceServiceAccount(_)
                | Condition::RequestPrincipal(_)
                | Condition::Claim(..)
        )
    };
    for (i, rule) in rules.iter().enumerate() {
        let part = if rule.from.iter().any(by_identity) {
            "from"
        } else if rule.when.iter().any(by_condition) {
            "when"
        } else {
            continue;
        };
        fields.invalid(
            "rules",
            format!("[{i}].{part} names identities or tokens, which action CUSTOM cannot match"),
            "match by addresses, headers, hosts, ports, methods or paths",
        );
    }
}
