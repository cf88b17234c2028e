//! Header changes of a route configuration, virtual host, route or weighted cluster.

use weft_proto::xds::envoy::config::core::v3 as core;

use super::{ConvertError, Path, Result, enumeration, header_key, header_name, required};
use crate::model::convert::format;
use crate::model::route as model;

pub(super) fn mutations(
    request_add: &[core::HeaderValueOption],
    request_remove: &[String],
    response_add: &[core::HeaderValueOption],
    response_remove: &[String],
    at: &Path,
) -> Result<model::HeaderMutations> {
    let remove = |names: &[String], field: &str| {
        let at = at.field(field);
        let one = |(index, name): (usize, &String)| removable(name, &at.index(index));
        names.iter().enumerate().map(one).collect::<Result<Vec<_>>>()
    };
    Ok(model::HeaderMutations {
        request_add: additions(request_add, &at.field("request_headers_to_add"))?,
        request_remove: remove(request_remove, "request_headers_to_remove")?,
        response_add: additions(response_add, &at.field("response_headers_to_add"))?,
        response_remove: remove(response_remove, "response_headers_to_remove")?,
    })
}

/// A header that may be removed.
pub(in crate::model) fn removable(name: &str, at: &Path) -> Result<::http::HeaderName> {
    if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
        return Err(at.error(format!("{name} must not be removed")));
    }
    header_name(name, at)
}

/// Headers to add, in this order.
pub(in crate::model) fn additions(options: &[core::HeaderValueOption], at: &Path) -> Result<Vec<model::HeaderAdd>> {
    let one = |(index, option): (usize, &core::HeaderValueOption)| header_add(option, &at.index(index));
    options.iter().enumerate().map(one).collect()
}

/// One header to add.
pub(in crate::model) fn header_add(source: &core::HeaderValueOption, at: &Path) -> Result<model::HeaderAdd> {
    use core::header_value_option::HeaderAppendAction as Action;
    let header = required(source.header.as_ref(), at, "header")?;
    let at_header = at.field("header");
    let action = match &source.append {
        // The deprecated field decides where it is set.
        Some(append) if !append.value => model::AppendAction::OverwriteOrAdd,
        Some(_) => model::AppendAction::AppendOrAdd,
        None => match enumeration(source.append_action, at, "append_action")? {
            Action::AppendIfExistsOrAdd => model::AppendAction::AppendOrAdd,
            Action::AddIfAbsent => model::AppendAction::AddIfAbsent,
            Action::OverwriteIfExistsOrAdd => model::AppendAction::OverwriteOrAdd,
            Action::OverwriteIfExists => model::AppendAction::OverwriteIfExists,
        },
    };
    let to_error = |error: format::FormatError| -> ConvertError { at_header.field("value").error(error) };
    Ok(model::HeaderAdd {
        name: header_key(&header.key, &at_header.field("key"))?,
        value: format::parse(&header.value, true).map_err(to_error)?,
        action,
        keep_empty_value: source.keep_empty_value,
    })
}
