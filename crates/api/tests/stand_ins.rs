//! What stands in for policies that are broken.

use weft_api::parse::parse;
use weft_api::resource::Resource;

#[test]
#[expect(clippy::wildcard_enum_match_arm, reason = "no other kind has a stand-in")]
fn broken_policies_have_a_stand_in_that_lets_less_through() {
    let check = |kind: &str, spec: &str, expected: &str| {
        let text = format!("apiVersion: security.istio.io/v1\nkind: {kind}\nmetadata: {{name: a}}\nspec: {spec}\n");
        let parsed = parse("f.yaml", &text);
        assert!(parsed.resources.is_empty(), "{spec}");
        let shown = parsed.stand_ins.iter().map(|resource| match resource {
            Resource::PeerAuthentication(object) => format!("{:?} {:?}", object.spec.selector, object.spec.mode),
            Resource::AuthorizationPolicy(object) => {
                let all = object.spec.rules.iter().all(|rule| rule.matches_all());
                let (selector, gateways, action) = (&object.spec.selector, &object.spec.gateways, &object.spec.action);
                format!("{selector:?} {gateways:?} {action:?} {all}")
            }
            Resource::RequestAuthentication(object) => {
                format!("{:?} {}", object.spec.selector, object.spec.rules.len())
            }
            other => panic!("{other:?}"),
        });
        assert_eq!(shown.collect::<Vec<_>>().join(";"), expected, "{spec}");
    };
    let own = "selector: {matchLabels: {app: b}}";
    let strict = "Some({\"app\": \"b\"}) Some(Strict)";
    check(
        "PeerAuthentication",
        &format!("{{{own}, mtls: {{mod: DISABLE}}}}"),
        strict,
    );
    check(
        "PeerAuthentication",
        &format!("{{{own}, mtls: {{mode: strict}}}}"),
        strict,
    );
    check(
        "PeerAuthentication",
        "{selector: {matchLabel: {app: b}}}",
        "None Some(Strict)",
    );
    check(
        "PeerAuthentication",
        "{selector: {matchLabels: {app: '*'}}, mtls: {mode: STRICT}}",
        "None Some(Strict)",
    );
    check("PeerAuthentication", "[]", "None Some(Strict)");
    let closed = "Some({\"app\": \"b\"}) [] Deny true";
    check("AuthorizationPolicy", &format!("{{{own}, rule: [{{}}]}}"), closed);
    check(
        "AuthorizationPolicy",
        &format!("{{{own}, action: CUSTOM, rules: [{{}}]}}"),
        closed,
    );
    check("AuthorizationPolicy", "{rules: [{to: [{}]}]}", "None [] Deny true");
    check("AuthorizationPolicy", "[]", "None [] Deny true");
    // Of references those to gateways are closed, of whatever group they are said to be.
    check(
        "AuthorizationPolicy",
        "{targetRefs: [{kind: Gateway, name: g}]}",
        "None [\"g\"] Deny true",
    );
    check("AuthorizationPolicy", "{targetRefs: [{kind: Service, name: s}]}", "");
    check(
        "RequestAuthentication",
        &format!("{{{own}, jwtRules: [{{isuer: x}}]}}"),
        "Some({\"app\": \"b\"}) 2",
    );
    check("Telemetry", "{metric: []}", "");
}
