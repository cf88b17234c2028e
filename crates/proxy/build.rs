//! Cuts Envoy's descriptors down to the messages that the proxy carries.
//!
//! A message that is not carried but that a field of a carried one has becomes an empty one, so that the field is still known
//! by its name. Decoded, what is left takes a few hundred kibibytes instead of tens of mebibytes.

#[path = "src/model/convert/supported.rs"]
#[expect(dead_code, reason = "only the names of messages are read here")]
mod supported;

use std::collections::BTreeSet;
use std::error::Error;
use std::io::Read;
use std::path::Path;

use prost::Message;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet, MessageOptions,
};

/// All of Envoy's API, as `cargo xtask gen` writes it.
const ALL: &str = "../../proto/src/gen/descriptors.bin.gz";

/// Carried as a whole: their JSON forms are part of the format itself.
const WELL_KNOWN: &str = ".google.protobuf.";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/model/convert/supported.rs");
    println!("cargo::rerun-if-changed=src/model/convert/supported.txt");
    println!("cargo::rerun-if-changed={ALL}");
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(std::fs::File::open(ALL)?).read_to_end(&mut bytes)?;
    let all = FileDescriptorSet::decode(bytes.as_slice())?;
    let mut wanted = BTreeSet::new();
    for file in &all.file {
        for message in &file.message_type {
            want(message, &scope(file), &mut wanted);
        }
    }
    let mut kept = FileDescriptorSet {
        file: all
            .file
            .into_iter()
            .filter_map(|file| cut_file(file, &wanted))
            .collect(),
    };
    let names: BTreeSet<String> = kept.file.iter().map(|file| file.name().to_owned()).collect();
    for file in &mut kept.file {
        file.dependency.retain(|name| names.contains(name));
    }
    let out = std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    std::fs::write(Path::new(&out).join("carried.bin"), kept.encode_to_vec())?;
    Ok(())
}

/// What heads the names of a file's types.
fn scope(file: &FileDescriptorProto) -> String {
    format!(".{}", file.package())
}

fn is_carried(name: &str) -> bool {
    name.starts_with(WELL_KNOWN) || supported::carried_fields(&name[1..]).is_some()
}

fn is_map_entry(message: &DescriptorProto) -> bool {
    message.options.as_ref().is_some_and(MessageOptions::map_entry)
}

/// Notes the types that fields of carried messages have.
fn want(message: &DescriptorProto, scope: &str, wanted: &mut BTreeSet<String>) {
    let name = format!("{scope}.{}", message.name());
    // An entry of a map is asked for by the message that it is in.
    if is_carried(&name) || (is_map_entry(message) && is_carried(scope)) {
        wanted.extend(message.field.iter().filter_map(|field| field.type_name.clone()));
    }
    for nested in &message.nested_type {
        want(nested, &name, wanted);
    }
}

/// What is left of a file; `None` where that is nothing.
fn cut_file(file: FileDescriptorProto, wanted: &BTreeSet<String>) -> Option<FileDescriptorProto> {
    let scope = scope(&file);
    let messages = file.message_type.into_iter();
    let messages: Vec<_> = messages.filter_map(|message| cut(message, &scope, wanted)).collect();
    let enums = kept_enums(file.enum_type, &scope, wanted);
    if messages.is_empty() && enums.is_empty() {
        return None;
    }
    Some(FileDescriptorProto {
        name: file.name,
        package: file.package,
        dependency: file.dependency,
        message_type: messages,
        enum_type: enums,
        syntax: file.syntax,
        ..FileDescriptorProto::default()
    })
}

/// What is left of a message; `None` where that is nothing. Options, comments and reserved ranges go in any case.
fn cut(message: DescriptorProto, scope: &str, wanted: &BTreeSet<String>) -> Option<DescriptorProto> {
    let name = format!("{scope}.{}", message.name());
    let is_entry = is_map_entry(&message);
    let carried = is_carried(&name) || (is_entry && is_carried(scope));
    let nested = message.nested_type.into_iter();
    let nested: Vec<_> = nested.filter_map(|nested| cut(nested, &name, wanted)).collect();
    let enums = kept_enums(message.enum_type, &name, wanted);
    if !carried && !wanted.contains(&name) && nested.is_empty() && enums.is_empty() {
        return None;
    }
    let fields = message.field.into_iter().map(without_options);
    Some(DescriptorProto {
        name: message.name,
        field: if carried { fields.collect() } else { Vec::new() },
        nested_type: nested,
        enum_type: enums,
        oneof_decl: if carried { message.oneof_decl } else { Vec::new() },
        options: is_entry.then(|| MessageOptions {
            map_entry: Some(true),
            ..MessageOptions::default()
        }),
        ..DescriptorProto::default()
    })
}

fn kept_enums(enums: Vec<EnumDescriptorProto>, scope: &str, wanted: &BTreeSet<String>) -> Vec<EnumDescriptorProto> {
    let kept = enums
        .into_iter()
        .filter(|found| wanted.contains(&format!("{scope}.{}", found.name())));
    kept.collect()
}

fn without_options(field: FieldDescriptorProto) -> FieldDescriptorProto {
    FieldDescriptorProto { options: None, ..field }
}
