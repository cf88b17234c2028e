//! Mesh-wide settings and policies: what is read, and what is refused aloud.

use weft_api::authorization_policy::Wildcard;
use weft_api::extension_provider::CheckProtocol;
use weft_api::mesh_config::{LogEncoding, MeshConfig};
use weft_api::parse::{Parsed, parse};
use weft_api::resource::Resource;

fn config(mesh: &str) -> (Option<MeshConfig>, Vec<String>) {
    let body: String = mesh.lines().map(|line| format!("    {line}\n")).collect();
    let text = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata:\n  mesh: |-\n\
         {body}  meshNetworks: \"networks: {{}}\"\n"
    );
    let parsed = parse("istio.yaml", &text);
    let found = parsed.diagnostics.iter().map(ToString::to_string).collect();
    let read = |resource: &Resource| {
        if let Resource::MeshConfig(object) = resource {
            return Some(object.spec.clone());
        }
        None
    };
    let config = parsed.resources.iter().find_map(read);
    (config, found)
}

#[test]
fn settings_are_read_and_others_are_named() {
    let (read, found) = config(
        "accessLogFile: /dev/stdout\naccessLogEncoding: JSON\nrootNamespace: mesh\nenableTracing: true\n\
         defaultConfig:\n  discoveryAddress: x:15012\nconnectTimeout: 2s",
    );
    let read = read.unwrap_or_default();
    assert_eq!(read.access_log_file.as_deref(), Some("/dev/stdout"));
    assert_eq!(read.access_log_encoding, Some(LogEncoding::Json));
    assert_eq!(read.root_namespace.as_deref(), Some("mesh"));
    assert_eq!(read.connect_timeout, Some(std::time::Duration::from_secs(2)));
    assert_eq!(
        found,
        [
            "istio.yaml:11:3: warning [WEFT0003] ConfigMap/istio-system/istio data.mesh.defaultConfig: is not carried \
             out by this mesh and has no effect; the other settings apply"
        ]
    );
}

#[test]
fn providers_that_decide_about_requests_are_read() {
    let (read, found) = config(
        "extensionProviders:\n- name: opa\n  envoyExtAuthzGrpc:\n    service: ns/opa.ns.svc.cluster.local\n    port: 9191\n    \
         includeRequestBodyInCheck: {maxRequestBytes: 8192, allowPartialMessage: true}\n\
         - name: oauth2\n  envoyExtAuthzHttp:\n    service: oauth2.ns.svc.cluster.local\n    port: \"4180\"\n    \
         timeout: 2s\n    failOpen: true\n    statusOnError: \"503\"\n    pathPrefix: /check\n    \
         includeRequestHeadersInCheck: [Cookie, x-ask-*]\n    includeAdditionalHeadersInCheck: {x-mesh: weft}\n    \
         headersToUpstreamOnAllow: [x-user]\n    headersToDownstreamOnDeny: [set-cookie]\n- name: spans\n  zipkin: {service: z, port: 1}",
    );
    let read = read.unwrap_or_default().extension_providers.unwrap_or_default();
    let [opa, oauth2] = read.as_slice() else {
        panic!("{read:?} {found:?}");
    };
    assert_eq!(
        (opa.host.as_str(), opa.port, opa.fail_open),
        ("opa.ns.svc.cluster.local", 9191, false)
    );
    assert_eq!(opa.protocol, CheckProtocol::Grpc);
    assert_eq!(
        opa.body.map(|body| (body.max, body.partial, body.as_bytes)),
        Some((8192, true, false))
    );
    assert_eq!(
        (oauth2.port, oauth2.fail_open, oauth2.status_on_error),
        (4180, true, Some(503))
    );
    let CheckProtocol::Http(check) = &oauth2.protocol else {
        panic!("{oauth2:?}");
    };
    let told = [
        Wildcard::Exact("cookie".to_owned()),
        Wildcard::Prefix("x-ask-".to_owned()),
    ];
    assert_eq!(check.request_headers, told);
    assert_eq!(check.additional_headers, [("x-mesh".to_owned(), "weft".to_owned())]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("extensionProviders[2].zipkin: is not carried out"),
        "{found:?}"
    );
}

#[test]
fn broken_settings_are_not_applied() {
    for (mesh, part) in [
        (
            "connectTimeout: soon",
            "data.mesh.connectTimeout: soon is not a duration",
        ),
        (
            "outboundTrafficPolicy: {mode: SOME}",
            "data.mesh.outboundTrafficPolicy.mode",
        ),
        (
            "extensionProviders: [{name: a, envoyExtAuthzGrpc: {port: 1}}]",
            "extensionProviders[0].envoyExtAuthzGrpc.service",
        ),
        (
            "extensionProviders: [{name: a, envoyExtAuthzHttp: {service: s.n, port: 1, statusOnError: x}}]",
            "statusOnError: \"x\" is no HTTP status",
        ),
        (
            "extensionProviders: [{name: a, envoyExtAuthzHttp: {service: s.n, port: 1, headersToUpstreamOnAllow: ['a b']}}]",
            "is no name of a header",
        ),
        (
            "extensionProviders: [{name: a, envoyExtAuthzGrpc: {service: s.n, port: x}}]",
            "envoyExtAuthzGrpc.port: is no port",
        ),
        ("a: [", "is not valid YAML"),
    ] {
        let (read, found) = config(mesh);
        assert_eq!(read, None, "{mesh}");
        assert!(found.iter().any(|found| found.contains(part)), "{mesh}: {found:?}");
    }
}

/// With a format that proxies refuse they would refuse every listener, so it costs itself alone.
#[test]
fn a_format_that_proxies_would_refuse_is_left_out() {
    for (format, part) in [
        (
            "accessLogFormat: \"%UPSTREAM_HOST_NAME%\"",
            "which proxies do not have; the default format is used",
        ),
        ("accessLogFormat: \"100%\"", "a percent sign that begins no operator"),
        (
            "accessLogEncoding: JSON\naccessLogFormat: \"%PATH%\"",
            "is not a JSON object",
        ),
        (
            "accessLogEncoding: JSON\naccessLogFormat: '{\"a\": {\"b\": \"%NOTHING%\"}}'",
            "%NOTHING%",
        ),
    ] {
        let (read, found) = config(&format!("{format}\naccessLogFile: /dev/stdout\nconnectTimeout: 2s"));
        let read = read.unwrap_or_default();
        assert_eq!(
            (read.access_log_format, read.access_log_file.as_deref()),
            (None, Some("/dev/stdout")),
            "{format}"
        );
        assert_eq!(read.connect_timeout, Some(std::time::Duration::from_secs(2)));
        let told = found.iter().any(|found| {
            found.contains("error [IST0106]") && found.contains("data.mesh.accessLogFormat") && found.contains(part)
        });
        assert!(told, "{format}: {found:?}");
    }
    let (read, found) = config("accessLogFormat: \"%REQ(:PATH)% %START_TIME(%s)%\"");
    assert_eq!(
        (read.unwrap_or_default().access_log_format.is_some(), found),
        (true, Vec::new())
    );
}

#[test]
fn other_configmaps_are_nobodys_matter() {
    let parsed = parse(
        "a.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\ndata: {mesh: \"x\"}\nwhat: ever\n",
    );
    assert_eq!(parsed, Parsed::default());
}

/// Taking the key away means what never having had it means.
#[test]
fn without_the_key_everything_is_as_by_default() {
    for data in ["", "data: {}\n", "data: {meshNetworks: \"networks: {}\"}\n"] {
        let text =
            format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\n{data}");
        let parsed = parse("f.yaml", &text);
        assert!(parsed.diagnostics.is_empty(), "{data}: {:?}", parsed.diagnostics);
        let [Resource::MeshConfig(config)] = parsed.resources.as_slice() else {
            panic!("{data}: {:?}", parsed.resources);
        };
        assert_eq!(config.spec, MeshConfig::default());
    }
}

#[test]
fn policies_are_checked_field_by_field() {
    for (kind, spec, expected) in [
        (
            "AuthorizationPolicy",
            "{rules: [{from: [{source: {principal: [a]}}]}]}",
            "spec.rules[0].from[0].source.principal: no such field; did you mean principals?",
        ),
        (
            "AuthorizationPolicy",
            "{action: REJECT}",
            "spec.action: \"REJECT\" is not allowed here",
        ),
        (
            "AuthorizationPolicy",
            "{rules: [{when: [{values: [a]}]}]}",
            "spec.rules[0].when[0].key: is required",
        ),
        (
            "RequestAuthentication",
            "{jwtRules: [{jwksUri: x}]}",
            "spec.jwtRules[0].issuer: is required",
        ),
        (
            "RequestAuthentication",
            "{jwtRules: [{issuer: a, jwks: x, jwksUri: y}]}",
            "excludes jwksUri",
        ),
    ] {
        let text =
            format!("apiVersion: security.istio.io/v1beta1\nkind: {kind}\nmetadata: {{name: a}}\nspec: {spec}\n");
        let parsed = parse("p.yaml", &text);
        let found: Vec<String> = parsed.diagnostics.iter().map(ToString::to_string).collect();
        assert!(found.iter().any(|found| found.contains(expected)), "{spec}: {found:?}");
        assert!(parsed.resources.is_empty());
    }
}
