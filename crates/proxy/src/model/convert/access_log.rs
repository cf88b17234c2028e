//! Access logs.

use std::path::PathBuf;
use std::sync::Arc;

use weft_proto::xds::envoy::config::accesslog::v3 as accesslog;
use weft_proto::xds::envoy::config::core::v3 as core;
use weft_proto::xds::envoy::extensions::access_loggers::{file, grpc, stream};
use weft_proto::xds::google::protobuf as pb;

use super::matcher::header_matcher;
use super::secret::envoy_grpc_cluster;
use super::{Path, Result, data_source, enumeration, fraction, header_name, holds, required, text, unpack};
use crate::model::access_log as model;
use crate::model::convert::format;
use crate::model::secret::DataSource;

/// The logs; one that is refused is left out, and what it is a log of goes on.
pub(super) fn access_logs(source: &[accesslog::AccessLog], at: &Path) -> Result<Vec<model::AccessLog>> {
    let mut logs = Vec::with_capacity(source.len());
    for (index, log) in source.iter().enumerate() {
        logs.extend(at.index(index).part(|at| access_log(log, at))?);
    }
    Ok(logs)
}

fn access_log(source: &accesslog::AccessLog, at: &Path) -> Result<model::AccessLog> {
    let filter = source.filter.as_ref();
    Ok(model::AccessLog {
        filter: filter
            .map(|filter| log_filter(filter, &at.field("filter")))
            .transpose()?,
        sink: sink(source, &at.field("typed_config"))?,
    })
}

fn sink(source: &accesslog::AccessLog, at: &Path) -> Result<model::LogSink> {
    let Some(accesslog::access_log::ConfigType::TypedConfig(any)) = &source.config_type else {
        return Err(at.error("is required"));
    };
    if holds::<file::v3::FileAccessLog>(any) {
        let log: file::v3::FileAccessLog = unpack(any, at)?;
        return Ok(model::LogSink::File {
            path: PathBuf::from(&log.path),
            format: file_format(&log, at)?,
        });
    }
    if holds::<stream::v3::StdoutAccessLog>(any) {
        let log: stream::v3::StdoutAccessLog = unpack(any, at)?;
        let Some(stream::v3::stdout_access_log::AccessLogFormat::LogFormat(format)) = log.access_log_format else {
            return Ok(model::LogSink::Stream {
                stderr: false,
                format: default_format(),
            });
        };
        let format = format_string(&format, &at.field("log_format"))?;
        return Ok(model::LogSink::Stream { stderr: false, format });
    }
    if holds::<stream::v3::StderrAccessLog>(any) {
        let log: stream::v3::StderrAccessLog = unpack(any, at)?;
        let Some(stream::v3::stderr_access_log::AccessLogFormat::LogFormat(format)) = log.access_log_format else {
            return Ok(model::LogSink::Stream {
                stderr: true,
                format: default_format(),
            });
        };
        let format = format_string(&format, &at.field("log_format"))?;
        return Ok(model::LogSink::Stream { stderr: true, format });
    }
    if holds::<grpc::v3::TcpGrpcAccessLogConfig>(any) {
        let log: grpc::v3::TcpGrpcAccessLogConfig = unpack(any, at)?;
        return grpc_sink(log.common_config.as_ref(), true, [&[], &[], &[]], at);
    }
    let log: grpc::v3::HttpGrpcAccessLogConfig = unpack(any, at)?;
    let headers: [&[String]; 3] = [
        &log.additional_request_headers_to_log,
        &log.additional_response_headers_to_log,
        &log.additional_response_trailers_to_log,
    ];
    grpc_sink(log.common_config.as_ref(), false, headers, at)
}

fn grpc_sink(
    common: Option<&grpc::v3::CommonGrpcAccessLogConfig>,
    tcp: bool,
    headers: [&[String]; 3],
    at: &Path,
) -> Result<model::LogSink> {
    let common = required(common, at, "common_config")?;
    let at_common = at.field("common_config");
    let service = required(common.grpc_service.as_ref(), &at_common, "grpc_service")?;
    let names = |names: &[String]| {
        names
            .iter()
            .map(|name| header_name(name, at))
            .collect::<Result<Vec<_>>>()
    };
    Ok(model::LogSink::Grpc {
        cluster: envoy_grpc_cluster(service, &at_common.field("grpc_service"))?,
        log_name: text(&common.log_name),
        tcp,
        request_headers: names(headers[0])?,
        response_headers: names(headers[1])?,
        response_trailers: names(headers[2])?,
    })
}

fn default_format() -> model::LogFormat {
    model::LogFormat::Text(format::envoy_default())
}

fn file_format(log: &file::v3::FileAccessLog, at: &Path) -> Result<model::LogFormat> {
    use file::v3::file_access_log::AccessLogFormat as Format;
    match &log.access_log_format {
        None => Ok(default_format()),
        Some(Format::Format(source)) if source.is_empty() => Ok(default_format()),
        Some(Format::Format(source)) => text_format(source, false, &at.field("format")),
        Some(Format::JsonFormat(object) | Format::TypedJsonFormat(object)) => Ok(model::LogFormat::Json(json_object(
            object,
            false,
            &at.field("json_format"),
        )?)),
        Some(Format::LogFormat(source)) => format_string(source, &at.field("log_format")),
    }
}

pub(in crate::model) fn format_string(source: &core::SubstitutionFormatString, at: &Path) -> Result<model::LogFormat> {
    use core::substitution_format_string::Format;
    let omit = source.omit_empty_values;
    match &source.format {
        Some(Format::TextFormat(format)) => text_format(format, omit, &at.field("text_format")),
        Some(Format::JsonFormat(object)) => Ok(model::LogFormat::Json(json_object(
            object,
            omit,
            &at.field("json_format"),
        )?)),
        Some(Format::TextFormatSource(data)) => {
            let at = at.field("text_format_source");
            let bytes = match data_source(data, &at)? {
                DataSource::Inline(bytes) => bytes,
                DataSource::File(path) => std::fs::read(&path)
                    .map_err(|error| at.error(format!("cannot read {}: {error}", path.display())))?
                    .into(),
            };
            let source = std::str::from_utf8(&bytes).map_err(|_| at.error("is not UTF-8 text"))?;
            text_format(source, omit, &at)
        }
        None => Err(at.error("needs text_format, text_format_source or json_format")),
    }
}

fn text_format(source: &str, omit: bool, at: &Path) -> Result<model::LogFormat> {
    format::parse(source, omit)
        .map(model::LogFormat::Text)
        .map_err(|error| at.error(error))
}

/// A JSON template. Keys are sorted: the protobuf struct does not keep their order, and Envoy sorts them too.
fn json_object(object: &pb::Struct, omit: bool, at: &Path) -> Result<model::JsonValue> {
    let mut keys: Vec<&String> = object.fields.keys().collect();
    keys.sort();
    let mut fields: Vec<(Arc<str>, model::JsonValue)> = Vec::with_capacity(keys.len());
    for key in keys {
        fields.push((text(key), json_value(&object.fields[key], omit, &at.field(key))?));
    }
    Ok(model::JsonValue::Object(fields))
}

fn json_value(value: &pb::Value, omit: bool, at: &Path) -> Result<model::JsonValue> {
    use pb::value::Kind;
    Ok(match &value.kind {
        None | Some(Kind::NullValue(_)) => model::JsonValue::Null,
        Some(Kind::NumberValue(number)) => model::JsonValue::Number(*number),
        Some(Kind::BoolValue(value)) => model::JsonValue::Bool(*value),
        Some(Kind::StringValue(source)) => {
            model::JsonValue::Text(format::parse(source, omit).map_err(|error| at.error(error))?)
        }
        Some(Kind::StructValue(object)) => json_object(object, omit, at)?,
        Some(Kind::ListValue(list)) => {
            let values = list.values.iter().enumerate();
            let values = values.map(|(index, value)| json_value(value, omit, &at.index(index)));
            model::JsonValue::List(values.collect::<Result<_>>()?)
        }
    })
}

/// A filter of access logs and local replies.
pub(super) fn log_filter(source: &accesslog::AccessLogFilter, at: &Path) -> Result<model::LogFilter> {
    use accesslog::access_log_filter::FilterSpecifier as Filter;
    let all = |filters: &[accesslog::AccessLogFilter], at: &Path| {
        let at = at.field("filters");
        let one = |(index, filter): (usize, &accesslog::AccessLogFilter)| log_filter(filter, &at.index(index));
        filters.iter().enumerate().map(one).collect::<Result<Vec<_>>>()
    };
    Ok(match &source.filter_specifier {
        Some(Filter::StatusCodeFilter(filter)) => {
            model::LogFilter::Status(comparison(filter.comparison.as_ref(), &at.field("status_code_filter"))?)
        }
        Some(Filter::DurationFilter(filter)) => {
            model::LogFilter::Duration(comparison(filter.comparison.as_ref(), &at.field("duration_filter"))?)
        }
        Some(Filter::NotHealthCheckFilter(_)) => model::LogFilter::NotHealthCheck,
        Some(Filter::RuntimeFilter(filter)) => {
            let at = at.field("runtime_filter");
            let share = required(filter.percent_sampled.as_ref(), &at, "percent_sampled")?;
            model::LogFilter::Fraction(fraction(share, &at)?)
        }
        Some(Filter::AndFilter(filter)) => model::LogFilter::And(all(&filter.filters, &at.field("and_filter"))?),
        Some(Filter::OrFilter(filter)) => model::LogFilter::Or(all(&filter.filters, &at.field("or_filter"))?),
        Some(Filter::HeaderFilter(filter)) => {
            let at = at.field("header_filter");
            let matcher = required(filter.header.as_ref(), &at, "header")?;
            model::LogFilter::Header(header_matcher(matcher, &at.field("header"))?)
        }
        Some(Filter::ResponseFlagFilter(filter)) => {
            model::LogFilter::ResponseFlags(filter.flags.iter().map(|flag| text(flag)).collect())
        }
        Some(Filter::GrpcStatusFilter(filter)) => model::LogFilter::GrpcStatus {
            codes: filter.statuses.clone(),
            exclude: filter.exclude,
        },
        _ => return Err(at.error("is not a supported filter")),
    })
}

fn comparison(source: Option<&accesslog::ComparisonFilter>, at: &Path) -> Result<model::Comparison> {
    use accesslog::comparison_filter::Op;
    let source = required(source, at, "comparison")?;
    let at = at.field("comparison");
    let op = match enumeration(source.op, &at, "op")? {
        Op::Eq => model::ComparisonOp::Eq,
        Op::Ge => model::ComparisonOp::Ge,
        Op::Le => model::ComparisonOp::Le,
        Op::Ne => model::ComparisonOp::Ne,
    };
    let value = source.value.as_ref().map_or(0, |value| value.default_value);
    Ok(model::Comparison { op, value })
}
