//! Which fields of which messages the proxy carries, and the walk that finds every other field that is set.

use prost_reflect::{DynamicMessage, MapKey, ReflectMessage, Value};
use weft_proto::descriptors;

/// A field that is set and that the proxy does not carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// Its path within the resource.
    pub path: String,
    /// Why, for people.
    pub reason: String,
}

/// Nesting deeper than this is refused; real resources stay below thirty.
const DEPTH_MAX: usize = 64;

/// The entry of an HTTP connection manager's filter list.
const HTTP_FILTER: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter";

/// The fields carried, by message type; `*` stands for all of them.
#[rustfmt::skip]
const CARRIED: &[(&str, &str)] = &[
    // bootstrap
    ("envoy.config.bootstrap.v3.Bootstrap", "node static_resources dynamic_resources admin"),
    ("envoy.config.bootstrap.v3.Bootstrap.StaticResources", "*"),
    ("envoy.config.bootstrap.v3.Bootstrap.DynamicResources", "lds_config cds_config ads_config"),
    ("envoy.config.bootstrap.v3.Admin", "address"),
    ("envoy.config.core.v3.Node", "id cluster metadata locality user_agent_name user_agent_version"),
    // core
    ("envoy.config.core.v3.Locality", "*"),
    ("envoy.config.core.v3.Metadata", "filter_metadata"),
    ("envoy.config.core.v3.Address", "socket_address pipe"),
    ("envoy.config.core.v3.SocketAddress", "protocol address port_value ipv4_compat"),
    ("envoy.config.core.v3.Pipe", "path"),
    ("envoy.config.core.v3.CidrRange", "*"),
    ("envoy.config.core.v3.BindConfig", "source_address extra_source_addresses"),
    ("envoy.config.core.v3.ExtraSourceAddress", "address"),
    ("envoy.config.core.v3.TcpKeepalive", "*"),
    ("envoy.config.core.v3.ConfigSource", "ads api_config_source path_config_source resource_api_version initial_fetch_timeout"),
    ("envoy.config.core.v3.AggregatedConfigSource", "*"),
    ("envoy.config.core.v3.PathConfigSource", "path"),
    ("envoy.config.core.v3.ApiConfigSource", "api_type transport_api_version grpc_services set_node_on_first_message_only"),
    ("envoy.config.core.v3.GrpcService", "envoy_grpc"),
    ("envoy.config.core.v3.GrpcService.EnvoyGrpc", "cluster_name"),
    ("envoy.config.core.v3.DataSource", "filename inline_bytes inline_string"),
    ("envoy.config.core.v3.TransportSocket", "name typed_config"),
    ("envoy.config.core.v3.TypedExtensionConfig", "name typed_config"),
    ("envoy.config.core.v3.RuntimeFractionalPercent", "default_value runtime_key"),
    ("envoy.config.core.v3.RuntimeUInt32", "default_value runtime_key"),
    ("envoy.config.core.v3.SubstitutionFormatString", "text_format text_format_source json_format omit_empty_values"),
    ("envoy.config.core.v3.HeaderValueOption", "header append append_action keep_empty_value"),
    ("envoy.config.core.v3.HeaderValue", "key value"),
    ("envoy.config.core.v3.HttpProtocolOptions", "idle_timeout max_connection_duration max_headers_count max_stream_duration max_requests_per_connection"),
    ("envoy.config.core.v3.Http1ProtocolOptions", "allow_absolute_url accept_http_10 default_host_for_http_10"),
    ("envoy.config.core.v3.Http2ProtocolOptions", "max_concurrent_streams initial_stream_window_size initial_connection_window_size allow_connect connection_keepalive"),
    ("envoy.config.core.v3.KeepaliveSettings", "interval timeout"),
    ("envoy.config.core.v3.UpstreamHttpProtocolOptions", "auto_sni auto_san_validation"),
    ("envoy.type.v3.FractionalPercent", "*"),
    ("envoy.type.v3.Percent", "*"),
    ("envoy.type.v3.Int64Range", "*"),
    ("envoy.type.matcher.v3.StringMatcher", "exact prefix suffix contains safe_regex ignore_case"),
    ("envoy.type.matcher.v3.RegexMatcher", "regex google_re2"),
    ("envoy.type.matcher.v3.RegexMatcher.GoogleRE2", ""),
    ("envoy.type.matcher.v3.RegexMatchAndSubstitute", "*"),
    // listener
    ("envoy.config.listener.v3.Listener", "name address additional_addresses stat_prefix filter_chains default_filter_chain use_original_dst per_connection_buffer_limit_bytes metadata listener_filters listener_filters_timeout continue_on_listener_filters_timeout traffic_direction bind_to_port access_log enable_reuse_port"),
    ("envoy.config.listener.v3.AdditionalAddress", "address"),
    ("envoy.config.listener.v3.ListenerFilter", "name typed_config"),
    ("envoy.config.listener.v3.FilterChain", "filter_chain_match filters transport_socket name transport_socket_connect_timeout metadata"),
    ("envoy.config.listener.v3.FilterChainMatch", "destination_port prefix_ranges source_type direct_source_prefix_ranges source_prefix_ranges source_ports server_names transport_protocol application_protocols"),
    ("envoy.config.listener.v3.Filter", "name typed_config"),
    ("envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector", ""),
    ("envoy.extensions.filters.listener.http_inspector.v3.HttpInspector", ""),
    ("envoy.extensions.filters.listener.original_dst.v3.OriginalDst", ""),
    ("envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol", ""),
    // network filters
    ("envoy.extensions.filters.network.set_filter_state.v3.Config", "on_new_connection"),
    ("envoy.extensions.filters.common.set_filter_state.v3.FilterStateValue", "object_key format_string shared_with_upstream"),
    ("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix cluster weighted_clusters idle_timeout access_log max_connect_attempts max_downstream_connection_duration"),
    ("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster", "clusters"),
    ("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster.ClusterWeight", "name weight"),
    ("envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", "codec_type stat_prefix rds route_config http_filters tracing common_http_protocol_options http_protocol_options http2_protocol_options server_name server_header_transformation max_request_headers_kb stream_idle_timeout request_timeout request_headers_timeout drain_timeout access_log use_remote_address xff_num_trusted_hops skip_xff_append via generate_request_id preserve_external_request_id always_set_request_id_in_response forward_client_cert_details set_current_client_cert_details upgrade_configs normalize_path merge_slashes path_with_escaped_slashes_action strip_matching_host_port strip_any_host_port strip_trailing_host_dot"),
    ("envoy.extensions.filters.network.http_connection_manager.v3.Rds", "config_source route_config_name"),
    ("envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter", "name typed_config is_optional"),
    ("envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.UpgradeConfig", "upgrade_type enabled"),
    ("envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.SetCurrentClientCertDetails", "*"),
    ("envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.Tracing", "client_sampling random_sampling overall_sampling custom_tags max_path_tag_length provider"),
    ("xds.type.v3.TypedStruct", "*"),
    ("envoy.extensions.filters.http.router.v3.Router", "suppress_envoy_headers"),
    ("envoy.extensions.filters.http.fault.v3.HTTPFault", "delay abort"),
    ("envoy.extensions.filters.http.fault.v3.FaultAbort", "http_status grpc_status percentage"),
    ("envoy.extensions.filters.common.fault.v3.FaultDelay", "fixed_delay percentage"),
    ("envoy.extensions.filters.http.cors.v3.Cors", ""),
    ("envoy.extensions.filters.http.cors.v3.CorsPolicy", "allow_origin_string_match allow_methods allow_headers expose_headers max_age allow_credentials forward_not_matching_preflights"),
    ("envoy.config.trace.v3.Tracing.Http", "name typed_config"),
    ("envoy.config.trace.v3.OpenTelemetryConfig", "grpc_service service_name"),
    ("envoy.type.tracing.v3.CustomTag", "tag literal environment request_header"),
    ("envoy.type.tracing.v3.CustomTag.Literal", "*"),
    ("envoy.type.tracing.v3.CustomTag.Environment", "*"),
    ("envoy.type.tracing.v3.CustomTag.Header", "*"),
    // access logs
    ("envoy.config.accesslog.v3.AccessLog", "name filter typed_config"),
    ("envoy.config.accesslog.v3.AccessLogFilter", "status_code_filter duration_filter not_health_check_filter runtime_filter and_filter or_filter header_filter response_flag_filter grpc_status_filter"),
    ("envoy.config.accesslog.v3.ComparisonFilter", "*"),
    ("envoy.config.accesslog.v3.StatusCodeFilter", "*"),
    ("envoy.config.accesslog.v3.DurationFilter", "*"),
    ("envoy.config.accesslog.v3.NotHealthCheckFilter", "*"),
    ("envoy.config.accesslog.v3.RuntimeFilter", "runtime_key percent_sampled"),
    ("envoy.config.accesslog.v3.AndFilter", "*"),
    ("envoy.config.accesslog.v3.OrFilter", "*"),
    ("envoy.config.accesslog.v3.HeaderFilter", "*"),
    ("envoy.config.accesslog.v3.ResponseFlagFilter", "*"),
    ("envoy.config.accesslog.v3.GrpcStatusFilter", "*"),
    ("envoy.extensions.access_loggers.file.v3.FileAccessLog", "path format log_format json_format typed_json_format"),
    ("envoy.extensions.access_loggers.stream.v3.StdoutAccessLog", "log_format"),
    ("envoy.extensions.access_loggers.stream.v3.StderrAccessLog", "log_format"),
    ("envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig", "common_config additional_request_headers_to_log additional_response_headers_to_log additional_response_trailers_to_log"),
    ("envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig", "common_config"),
    ("envoy.extensions.access_loggers.grpc.v3.CommonGrpcAccessLogConfig", "log_name grpc_service transport_api_version"),
    // routes
    ("envoy.config.route.v3.RouteConfiguration", "name virtual_hosts internal_only_headers request_headers_to_add request_headers_to_remove response_headers_to_add response_headers_to_remove most_specific_header_mutations_wins validate_clusters ignore_port_in_host_matching max_direct_response_body_size_bytes"),
    ("envoy.config.route.v3.VirtualHost", "name domains routes require_tls request_headers_to_add request_headers_to_remove response_headers_to_add response_headers_to_remove retry_policy include_request_attempt_count include_attempt_count_in_response metadata typed_per_filter_config"),
    ("envoy.config.route.v3.Route", "name match route redirect direct_response metadata typed_per_filter_config request_headers_to_add request_headers_to_remove response_headers_to_add response_headers_to_remove"),
    ("envoy.config.route.v3.RouteMatch", "prefix path safe_regex connect_matcher path_separated_prefix case_sensitive runtime_fraction headers query_parameters grpc"),
    ("envoy.config.route.v3.RouteMatch.ConnectMatcher", ""),
    ("envoy.config.route.v3.RouteMatch.GrpcRouteMatchOptions", ""),
    ("envoy.config.route.v3.HeaderMatcher", "name exact_match safe_regex_match range_match present_match prefix_match suffix_match contains_match string_match invert_match treat_missing_header_as_empty"),
    ("envoy.config.route.v3.QueryParameterMatcher", "name string_match present_match"),
    ("envoy.config.route.v3.RouteAction", "cluster cluster_header weighted_clusters cluster_not_found_response_code prefix_rewrite regex_rewrite host_rewrite_literal auto_host_rewrite host_rewrite_header host_rewrite_path_regex append_x_forwarded_host timeout idle_timeout retry_policy upgrade_configs max_grpc_timeout max_stream_duration"),
    ("envoy.config.route.v3.RouteAction.UpgradeConfig", "upgrade_type enabled connect_config"),
    ("envoy.config.route.v3.RouteAction.UpgradeConfig.ConnectConfig", ""),
    ("envoy.config.route.v3.RouteAction.MaxStreamDuration", "max_stream_duration grpc_timeout_header_max"),
    ("envoy.config.route.v3.WeightedCluster", "clusters total_weight runtime_key_prefix"),
    ("envoy.config.route.v3.WeightedCluster.ClusterWeight", "name weight request_headers_to_add request_headers_to_remove response_headers_to_add response_headers_to_remove host_rewrite_literal"),
    ("envoy.config.route.v3.RetryPolicy", "retry_on num_retries per_try_timeout per_try_idle_timeout retry_host_predicate host_selection_retry_max_attempts retriable_status_codes retry_back_off retriable_headers retriable_request_headers"),
    ("envoy.config.route.v3.RetryPolicy.RetryHostPredicate", "name typed_config"),
    ("envoy.config.route.v3.RetryPolicy.RetryBackOff", "*"),
    ("envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate", ""),
    ("envoy.config.route.v3.RedirectAction", "https_redirect scheme_redirect host_redirect port_redirect path_redirect prefix_rewrite regex_rewrite response_code strip_query"),
    ("envoy.config.route.v3.DirectResponseAction", "status body"),
    // clusters
    ("envoy.config.cluster.v3.Cluster", "name alt_stat_name type eds_cluster_config connect_timeout lb_policy load_assignment circuit_breakers common_http_protocol_options http_protocol_options http2_protocol_options typed_extension_protocol_options dns_refresh_rate dns_lookup_family outlier_detection upstream_bind_config least_request_lb_config round_robin_lb_config original_dst_lb_config common_lb_config transport_socket transport_socket_matches metadata upstream_connection_options"),
    ("envoy.config.cluster.v3.Cluster.EdsClusterConfig", "eds_config service_name"),
    ("envoy.config.cluster.v3.Cluster.TransportSocketMatch", "name match transport_socket"),
    ("envoy.config.cluster.v3.Cluster.LeastRequestLbConfig", "choice_count"),
    ("envoy.config.cluster.v3.Cluster.RoundRobinLbConfig", ""),
    ("envoy.config.cluster.v3.Cluster.OriginalDstLbConfig", "use_http_header http_header_name upstream_port_override"),
    ("envoy.config.cluster.v3.Cluster.CommonLbConfig", "healthy_panic_threshold"),
    ("envoy.config.cluster.v3.UpstreamConnectionOptions", "tcp_keepalive"),
    ("envoy.config.cluster.v3.CircuitBreakers", "thresholds"),
    ("envoy.config.cluster.v3.CircuitBreakers.Thresholds", "priority max_connections max_pending_requests max_requests max_retries retry_budget track_remaining"),
    ("envoy.config.cluster.v3.CircuitBreakers.Thresholds.RetryBudget", "*"),
    ("envoy.config.cluster.v3.OutlierDetection", "consecutive_5xx interval base_ejection_time max_ejection_percent enforcing_consecutive_5xx enforcing_success_rate consecutive_gateway_failure enforcing_consecutive_gateway_failure split_external_local_origin_errors consecutive_local_origin_failure enforcing_consecutive_local_origin_failure max_ejection_time"),
    ("envoy.extensions.upstreams.http.v3.HttpProtocolOptions", "common_http_protocol_options upstream_http_protocol_options explicit_http_config use_downstream_protocol_config auto_config"),
    ("envoy.extensions.upstreams.http.v3.HttpProtocolOptions.ExplicitHttpConfig", "http_protocol_options http2_protocol_options"),
    ("envoy.extensions.upstreams.http.v3.HttpProtocolOptions.UseDownstreamHttpConfig", "http_protocol_options http2_protocol_options"),
    ("envoy.extensions.upstreams.http.v3.HttpProtocolOptions.AutoHttpConfig", "http_protocol_options http2_protocol_options"),
    ("envoy.config.endpoint.v3.ClusterLoadAssignment", "cluster_name endpoints policy"),
    ("envoy.config.endpoint.v3.ClusterLoadAssignment.Policy", "overprovisioning_factor"),
    ("envoy.config.endpoint.v3.LocalityLbEndpoints", "locality lb_endpoints load_balancing_weight priority"),
    ("envoy.config.endpoint.v3.LbEndpoint", "endpoint health_status metadata load_balancing_weight"),
    ("envoy.config.endpoint.v3.Endpoint", "address hostname"),
    // TLS
    ("envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer", ""),
    ("envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext", "common_tls_context require_client_certificate"),
    ("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", "common_tls_context sni auto_host_sni auto_sni_san_validation"),
    ("envoy.extensions.transport_sockets.tls.v3.CommonTlsContext", "tls_params tls_certificates tls_certificate_sds_secret_configs validation_context validation_context_sds_secret_config combined_validation_context alpn_protocols"),
    ("envoy.extensions.transport_sockets.tls.v3.CommonTlsContext.CombinedCertificateValidationContext", "default_validation_context validation_context_sds_secret_config"),
    ("envoy.extensions.transport_sockets.tls.v3.TlsParameters", "tls_minimum_protocol_version tls_maximum_protocol_version"),
    ("envoy.extensions.transport_sockets.tls.v3.TlsCertificate", "certificate_chain private_key"),
    ("envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext", "trusted_ca match_typed_subject_alt_names system_root_certs"),
    ("envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext.SystemRootCerts", ""),
    ("envoy.extensions.transport_sockets.tls.v3.SubjectAltNameMatcher", "san_type matcher"),
    ("envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig", "name sds_config"),
    ("envoy.extensions.transport_sockets.tls.v3.Secret", "name tls_certificate validation_context"),
];

/// The fields carried of a message type; `None` where the type is not carried at all.
fn carried_fields(type_name: &str) -> Option<&'static str> {
    CARRIED
        .iter()
        .find(|(name, _)| *name == type_name)
        .map(|(_, fields)| *fields)
}

/// Every field below `message` that is set and not carried, in the order of the fields.
pub fn unsupported_fields(message: &DynamicMessage, path: &str) -> Vec<Unsupported> {
    let mut found = Vec::new();
    walk(message, path, 0, &mut found);
    found
}

fn walk(message: &DynamicMessage, path: &str, depth: usize, found: &mut Vec<Unsupported>) {
    let descriptor = message.descriptor();
    let type_name = descriptor.full_name();
    if type_name == "google.protobuf.Any" {
        return walk_any(message, path, depth, found);
    }
    if type_name.starts_with("google.protobuf.") {
        return;
    }
    if depth > DEPTH_MAX {
        return found.push(refuse(path, "is nested too deeply"));
    }
    let Some(carried) = carried_fields(type_name) else {
        return found.push(refuse(path, &format!("{type_name} is not supported")));
    };
    if type_name == HTTP_FILTER && is_skipped_filter(message) {
        return;
    }
    for (field, value) in message.fields() {
        let below = if path.is_empty() {
            field.name().to_owned()
        } else {
            format!("{path}.{}", field.name())
        };
        if carried != "*" && !carried.split(' ').any(|name| name == field.name()) {
            found.push(refuse(&below, "is not supported"));
            continue;
        }
        walk_value(value, &below, depth + 1, found);
    }
}

/// Whether an HTTP filter may be left out: it says so itself, and its type is not carried (Envoy does the same for unknown types).
fn is_skipped_filter(filter: &DynamicMessage) -> bool {
    let optional = filter
        .get_field_by_name("is_optional")
        .and_then(|value| value.as_bool());
    let config = filter.get_field_by_name("typed_config");
    let config = config.as_deref().and_then(Value::as_message);
    let type_url = config.and_then(|any| {
        any.get_field_by_name("type_url")
            .and_then(|url| url.as_str().map(str::to_owned))
    });
    let type_name = type_url
        .as_deref()
        .and_then(|url| url.rsplit('/').next())
        .unwrap_or_default();
    optional == Some(true) && carried_fields(type_name).is_none()
}

fn walk_value(value: &Value, path: &str, depth: usize, found: &mut Vec<Unsupported>) {
    match value {
        Value::Message(message) => walk(message, path, depth, found),
        Value::List(values) => {
            for (index, value) in values.iter().enumerate() {
                walk_value(value, &format!("{path}[{index}]"), depth, found);
            }
        }
        Value::Map(values) => {
            let mut entries: Vec<(String, &Value)> = values.iter().map(|(key, value)| (key_text(key), value)).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            for (key, value) in entries {
                walk_value(value, &format!("{path}[{key:?}]"), depth, found);
            }
        }
        Value::Bool(_)
        | Value::I32(_)
        | Value::I64(_)
        | Value::U32(_)
        | Value::U64(_)
        | Value::F32(_)
        | Value::F64(_)
        | Value::String(_)
        | Value::Bytes(_)
        | Value::EnumNumber(_) => {}
    }
}

fn walk_any(any: &DynamicMessage, path: &str, depth: usize, found: &mut Vec<Unsupported>) {
    let type_url = any.get_field_by_name("type_url");
    let type_url = type_url.as_deref().and_then(Value::as_str).unwrap_or_default();
    let name = type_url.rsplit('/').next().unwrap_or_default();
    let Some(descriptor) = descriptors::pool().get_message_by_name(name) else {
        return found.push(refuse(path, &format!("{type_url:?} is not a known type")));
    };
    let value = any.get_field_by_name("value");
    let bytes = value.as_deref().and_then(Value::as_bytes).cloned().unwrap_or_default();
    match DynamicMessage::decode(descriptor, bytes) {
        Ok(message) => walk(&message, path, depth, found),
        Err(error) => found.push(refuse(path, &format!("cannot be decoded as {name}: {error}"))),
    }
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::String(text) => text.clone(),
        MapKey::Bool(value) => value.to_string(),
        MapKey::I32(value) => value.to_string(),
        MapKey::I64(value) => value.to_string(),
        MapKey::U32(value) => value.to_string(),
        MapKey::U64(value) => value.to_string(),
    }
}

fn refuse(path: &str, reason: &str) -> Unsupported {
    Unsupported {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_and_field_of_the_table_exists() {
        for (type_name, fields) in CARRIED {
            let message = descriptors::pool().get_message_by_name(type_name);
            let message = message.unwrap_or_else(|| panic!("{type_name} does not exist"));
            for field in fields.split(' ').filter(|field| !field.is_empty() && *field != "*") {
                assert!(
                    message.get_field_by_name(field).is_some(),
                    "{type_name}.{field} does not exist"
                );
            }
        }
    }
}
