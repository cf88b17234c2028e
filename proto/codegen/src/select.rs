//! The part of a set of descriptors that some messages and services need.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet};

/// Cuts away what no root leads to. Messages that are kept are whole, so that nothing of one is lost when it is read and written.
pub(crate) fn used(set: FileDescriptorSet, messages: &[&str], services: &[&str]) -> Result<FileDescriptorSet> {
    let mut known = Known::default();
    for file in &set.file {
        known.add(file);
    }
    let mut open: Vec<String> = Vec::new();
    for name in messages {
        ensure!(
            known.uses.contains_key(&full(name)),
            "there is no message {name}: mend src/roots.rs"
        );
        open.push(full(name));
    }
    for name in services {
        let Some(types) = known.services.get(&full(name)) else {
            anyhow::bail!("there is no service {name}: mend src/roots.rs");
        };
        open.extend(types.iter().cloned());
    }
    let mut kept = BTreeSet::new();
    while let Some(name) = open.pop() {
        if kept.contains(&name) {
            continue;
        }
        open.extend(known.uses.get(&name).into_iter().flatten().cloned());
        kept.insert(name);
    }
    let services = services.iter().map(|name| full(name)).collect();
    let file = set.file.into_iter();
    let file = file.filter_map(|file| cut(file, &kept, &services)).collect();
    Ok(FileDescriptorSet { file })
}

/// The form in which descriptors name types.
fn full(name: &str) -> String {
    format!(".{name}")
}

/// What there is, with the types that each thing needs.
#[derive(Default)]
struct Known {
    uses: BTreeMap<String, Vec<String>>,
    services: BTreeMap<String, Vec<String>>,
}

// === impl Known ===

impl Known {
    fn add(&mut self, file: &FileDescriptorProto) {
        let package = scope(file);
        for message in &file.message_type {
            self.add_message(message, &package, None);
        }
        for service in &file.service {
            let types = service.method.iter();
            let types = types.flat_map(|method| [method.input_type(), method.output_type()]);
            let name = format!("{package}.{}", service.name());
            self.services.insert(name, types.map(str::to_owned).collect());
        }
    }

    /// A message needs the types of its fields, and the message that it is declared in.
    fn add_message(&mut self, message: &DescriptorProto, scope: &str, parent: Option<&str>) {
        let name = format!("{scope}.{}", message.name());
        let fields = message.field.iter().filter_map(|field| field.type_name.clone());
        self.uses
            .insert(name.clone(), fields.chain(parent.map(str::to_owned)).collect());
        for nested in &message.nested_type {
            self.add_message(nested, &name, Some(&name));
        }
        for nested in &message.enum_type {
            self.uses
                .insert(format!("{name}.{}", nested.name()), vec![name.clone()]);
        }
    }
}

/// What heads the names of a file's types.
fn scope(file: &FileDescriptorProto) -> String {
    format!(".{}", file.package())
}

/// What is left of a file; `None` where that is nothing.
fn cut(
    mut file: FileDescriptorProto,
    kept: &BTreeSet<String>,
    services: &BTreeSet<String>,
) -> Option<FileDescriptorProto> {
    let scope = scope(&file);
    let whole = (file.message_type.len(), file.enum_type.len(), file.service.len());
    file.message_type = messages(file.message_type, &scope, kept);
    file.enum_type = enums(file.enum_type, &scope, kept);
    file.service
        .retain(|service| services.contains(&format!("{scope}.{}", service.name())));
    file.extension.clear();
    let left = (file.message_type.len(), file.enum_type.len(), file.service.len());
    if left != whole {
        // Comments are found by the place that a thing had.
        file.source_code_info = None;
    }
    (left != (0, 0, 0)).then_some(file)
}

fn messages(all: Vec<DescriptorProto>, scope: &str, kept: &BTreeSet<String>) -> Vec<DescriptorProto> {
    let mut left = Vec::new();
    for mut message in all {
        let name = format!("{scope}.{}", message.name());
        if kept.contains(&name) {
            message.nested_type = messages(message.nested_type, &name, kept);
            message.enum_type = enums(message.enum_type, &name, kept);
            message.extension.clear();
            left.push(message);
        }
    }
    left
}

fn enums(mut all: Vec<EnumDescriptorProto>, scope: &str, kept: &BTreeSet<String>) -> Vec<EnumDescriptorProto> {
    all.retain(|found| kept.contains(&format!("{scope}.{}", found.name())));
    all
}

#[cfg(test)]
mod tests {
    use prost_types::{FieldDescriptorProto, MethodDescriptorProto, ServiceDescriptorProto};

    use super::*;

    fn message(name: &str, fields: &[&str], nested: Vec<DescriptorProto>) -> DescriptorProto {
        let field = |name: &&str| FieldDescriptorProto {
            type_name: Some((*name).to_owned()),
            ..FieldDescriptorProto::default()
        };
        DescriptorProto {
            name: Some(name.to_owned()),
            field: fields.iter().map(field).collect(),
            nested_type: nested,
            ..DescriptorProto::default()
        }
    }

    fn set() -> FileDescriptorSet {
        let method = MethodDescriptorProto {
            input_type: Some(".a.Asked".to_owned()),
            output_type: Some(".a.Answered".to_owned()),
            ..MethodDescriptorProto::default()
        };
        let service = ServiceDescriptorProto {
            name: Some("Oracle".to_owned()),
            method: vec![method],
            ..ServiceDescriptorProto::default()
        };
        let file = FileDescriptorProto {
            package: Some("a".to_owned()),
            message_type: vec![
                message("Root", &[".a.Parent.Inner", ".a.Colour"], Vec::new()),
                message(
                    "Parent",
                    &[],
                    vec![
                        message("Inner", &[".a.Root"], Vec::new()),
                        message("Other", &[], Vec::new()),
                    ],
                ),
                message("Asked", &[], Vec::new()),
                message("Answered", &[], Vec::new()),
            ],
            enum_type: ["Colour", "Shape"]
                .map(|name| EnumDescriptorProto {
                    name: Some(name.to_owned()),
                    ..EnumDescriptorProto::default()
                })
                .into(),
            service: vec![service],
            ..FileDescriptorProto::default()
        };
        FileDescriptorSet { file: vec![file] }
    }

    fn names(messages: &[DescriptorProto]) -> Vec<String> {
        let mut all = Vec::new();
        for message in messages {
            all.push(message.name().to_owned());
            all.extend(names(&message.nested_type));
        }
        all
    }

    fn check(messages: &[&str], services: &[&str], left: &[&str], left_enums: usize) {
        let used = used(set(), messages, services).unwrap();
        let found: Vec<String> = used.file.iter().flat_map(|file| names(&file.message_type)).collect();
        assert_eq!(found, left, "{messages:?} {services:?}");
        assert_eq!(
            used.file.iter().map(|file| file.enum_type.len()).sum::<usize>(),
            left_enums
        );
    }

    #[test]
    fn what_is_kept_is_what_roots_lead_to() {
        check(&[], &[], &[], 0);
        check(&["a.Parent"], &[], &["Parent"], 0);
        check(&["a.Parent.Inner"], &[], &["Root", "Parent", "Inner"], 1);
        check(&["a.Root"], &[], &["Root", "Parent", "Inner"], 1);
        check(&[], &["a.Oracle"], &["Asked", "Answered"], 0);
    }

    #[test]
    fn a_root_that_is_not_there_is_an_error() {
        assert!(used(set(), &["a.Nobody"], &[]).is_err());
        assert!(used(set(), &[], &["a.Nobody"]).is_err());
    }
}
