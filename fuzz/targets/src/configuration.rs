//! What the proxy is told: files, resources over xDS, formats and expressions.

use std::path::Path as File;

use prost::Message;
use weft_proto::xds::envoy::config::cluster::v3::Cluster;
use weft_proto::xds::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use weft_proto::xds::envoy::config::endpoint::v3::ClusterLoadAssignment;
use weft_proto::xds::envoy::config::listener::v3::Listener;
use weft_proto::xds::envoy::config::route::v3::route::Action;
use weft_proto::xds::envoy::config::route::v3::route_match::PathSpecifier;
use weft_proto::xds::envoy::config::route::v3::{
    DirectResponseAction, Route, RouteConfiguration, RouteMatch, VirtualHost,
};
use weft_proto::xds::envoy::extensions::transport_sockets::tls::v3::Secret;
use weft_proto::xds::envoy::r#type::matcher::v3::RegexMatcher;
use weft_proxy::model::convert::{self, Path};
use weft_proxy::model::route::PathMatch;

use super::text;

/// A file is taken or refused, the same each time.
pub(crate) fn bootstrap(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    for tolerate in [false, true] {
        // Either is right; what is refused says where.
        if let Err(error) = weft_proxy::bootstrap::parse(File::new("file"), text, tolerate) {
            assert!(!error.to_string().is_empty());
        }
    }
}

/// Decodes and converts one resource.
fn resource<M: Message + Default, T>(bytes: &[u8], convert: impl Fn(&M, &Path) -> Result<T, convert::ConvertError>) {
    if let Ok(message) = M::decode(bytes) {
        // Either is right; a refusal has a reason.
        if let Err(error) = convert(&message, &Path::root("")) {
            assert!(!error.reason.is_empty());
        }
    }
}

pub(crate) fn xds_cluster(bytes: &[u8]) {
    resource(bytes, |message: &Cluster, at| convert::cluster(message, at));
}

pub(crate) fn xds_endpoints(bytes: &[u8]) {
    resource(bytes, |message: &ClusterLoadAssignment, at| {
        convert::load_assignment(message, at)
    });
}

pub(crate) fn xds_listener(bytes: &[u8]) {
    resource(bytes, |message: &Listener, at| convert::listener(message, at));
}

pub(crate) fn xds_routes(bytes: &[u8]) {
    resource(bytes, |message: &RouteConfiguration, at| {
        convert::route_config(message, at)
    });
}

pub(crate) fn xds_secret(bytes: &[u8]) {
    resource(bytes, |message: &Secret, at| convert::secret(message, at));
}

/// Routes of one host with one route.
fn routes(path: PathSpecifier, value: &str) -> RouteConfiguration {
    let header = HeaderValueOption {
        header: Some(HeaderValue {
            key: "x-a".to_owned(),
            value: value.to_owned(),
            ..HeaderValue::default()
        }),
        ..HeaderValueOption::default()
    };
    RouteConfiguration {
        virtual_hosts: vec![VirtualHost {
            name: "all".to_owned(),
            domains: vec!["*".to_owned()],
            routes: vec![Route {
                r#match: Some(RouteMatch {
                    path_specifier: Some(path),
                    ..RouteMatch::default()
                }),
                action: Some(Action::DirectResponse(DirectResponseAction {
                    status: 200,
                    ..DirectResponseAction::default()
                })),
                response_headers_to_add: vec![header],
                ..Route::default()
            }],
            ..VirtualHost::default()
        }],
        ..RouteConfiguration::default()
    }
}

/// The first line is an expression, the rest a path.
pub(crate) fn regex(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let (regex, path) = text.split_once('\n').unwrap_or((text, "/"));
    let matcher = RegexMatcher {
        regex: regex.to_owned(),
        ..RegexMatcher::default()
    };
    let config = routes(PathSpecifier::SafeRegex(matcher), "");
    let Ok(config) = convert::route_config(&config, &Path::root("")) else {
        return;
    };
    let mut routes = config.virtual_hosts.iter().flat_map(|host| &host.routes);
    if let Some(PathMatch::Regex(regex)) = routes.next().map(|route| &route.matches.path) {
        let found = regex.find(path);
        // Expressions are for whole paths.
        assert!(found.is_none_or(|found| found.as_str() == path));
    }
}

pub(crate) fn access_log_format(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let config = routes(PathSpecifier::Prefix("/".to_owned()), text);
    // Either is right; a refusal names the field.
    if let Err(error) = convert::route_config(&config, &Path::root("")) {
        assert!(!error.path.is_empty());
    }
}
