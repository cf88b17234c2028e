//! Metadata that is left of every request, as configured (`envoy.filters.http.set_metadata`).

#![allow(
    deprecated,
    reason = "users' files still set Envoy's deprecated fields, and those stay in force"
)]

use std::sync::Arc;

use serde_json::{Map, Value};
use weft_proto::xds::envoy::extensions::filters::http::set_metadata::v3 as pb;
use weft_proto::xds::google::protobuf::{Any, Struct};

use crate::model::convert::{Path, Result, holds, struct_json, text, unpack};

/// What is left (Envoy `set_metadata.v3.Config`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// In this order.
    pub entries: Vec<Entry>,
}

/// Metadata of one namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub namespace: Arc<str>,
    /// What happens where there is some already.
    pub existing: Existing,
    pub fields: Map<String, Value>,
}

/// What happens to metadata that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and nothing is added.
    Stays,
    /// What is new is merged into it: lists are joined, objects merged, the rest replaced.
    Merged,
}

/// What the most specific level of a route says comes behind the list.
pub type RouteConfig = Config;

pub(super) fn read(any: &Any, at: &Path) -> Result<Option<Config>> {
    if !holds::<pb::Config>(any) {
        return Ok(None);
    }
    let source: pb::Config = unpack(any, at)?;
    let mut entries = Vec::with_capacity(source.metadata.len() + 1);
    // The deprecated fields come first, and merge.
    if let Some(value) = source.value.as_ref().filter(|_| !source.metadata_namespace.is_empty()) {
        entries.push(entry(&source.metadata_namespace, Existing::Merged, Some(value)));
    }
    for (index, metadata) in source.metadata.iter().enumerate() {
        let at = at.field("metadata").index(index);
        if metadata.metadata_namespace.is_empty() {
            return Err(at.field("metadata_namespace").error("is required"));
        }
        let existing = if metadata.allow_overwrite {
            Existing::Merged
        } else {
            Existing::Stays
        };
        entries.push(entry(&metadata.metadata_namespace, existing, metadata.value.as_ref()));
    }
    Ok(Some(Config { entries }))
}

fn entry(namespace: &str, existing: Existing, value: Option<&Struct>) -> Entry {
    Entry {
        namespace: text(namespace),
        existing,
        fields: value.map(struct_json).unwrap_or_default(),
    }
}

pub(super) fn read_for_route(any: &Any, at: &Path) -> Result<Option<RouteConfig>> {
    read(any, at)
}
