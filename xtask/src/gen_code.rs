//! `cargo xtask gen`: files that are made from others and committed, so that a build needs no protobuf compiler.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;
use prost_types::FileDescriptorSet;

/// Where generated files go, from the workspace root.
const TARGET: &str = "proto/src/gen";

/// Writes every generated file, or with `check` compares them with what is committed.
pub(crate) fn run(check: bool) -> Result<()> {
    let root = workspace_root()?;
    let mut files = service_code(&root)?;
    files.push(("descriptors.bin.gz".to_owned(), descriptors(&root)?));
    let mut differing = Vec::new();
    for (name, content) in files {
        let path = root.join(TARGET).join(&name);
        if std::fs::read(&path).is_ok_and(|committed| committed == content) {
            continue;
        }
        if check {
            differing.push(format!("{TARGET}/{name}"));
        } else {
            std::fs::create_dir_all(root.join(TARGET))?;
            std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    if !differing.is_empty() {
        bail!(
            "out of date: {}; run `cargo xtask gen` and commit the result",
            differing.join(", ")
        );
    }
    Ok(())
}

/// Our own .proto files with the files of their Rust code.
const OWN: [(&str, &str); 3] = [
    ("ca.proto", "istio.v1.auth.rs"),
    ("names.proto", "istio.networking.nds.v1.rs"),
    ("typed_struct.proto", "xds.type.v3.rs"),
];

/// Rust code of our own .proto files.
fn service_code(root: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let out = root.join("target/xtask-gen");
    std::fs::create_dir_all(&out)?;
    let mut files = Vec::new();
    for (source, name) in OWN {
        tonic_prost_build::configure()
            .compile_well_known_types(true)
            .extern_path(".google.protobuf", "envoy_types::pb::google::protobuf")
            .out_dir(&out)
            .compile_fds(compile(root, source)?)
            .context("cannot generate service code")?;
        // A part of a package that is a word of Rust is escaped in the file's name.
        let made = out.join(name.replace(".type.", ".r#type."));
        let code = std::fs::read_to_string(&made).with_context(|| format!("cannot read {}", made.display()))?;
        let code = format!("// Generated from proto/proto/{source} by `cargo xtask gen`.\n{code}");
        files.push((name.to_owned(), code.into_bytes()));
    }
    Ok(files)
}

fn compile(root: &Path, source: &str) -> Result<FileDescriptorSet> {
    let include = root.join("proto/proto");
    protox::compile([include.join(source)], [include]).with_context(|| format!("cannot compile proto/proto/{source}"))
}

/// The descriptors of Envoy's API as the xDS types crate ships them, and of what it leaves out, without source comments, compressed.
fn descriptors(root: &Path) -> Result<Vec<u8>> {
    let metadata = cargo_metadata::MetadataCommand::new().exec()?;
    let package = (metadata.packages.iter())
        .find(|package| package.name.as_str() == "envoy-types")
        .context("the workspace does not depend on envoy-types")?;
    let folder = package.manifest_path.parent().context("a manifest is in a folder")?;
    let shipped = std::fs::read(folder.join("src/generated/types.bin"))?;
    let mut set = FileDescriptorSet::decode(shipped.as_slice())?;
    let own = compile(root, "typed_struct.proto")?.file.into_iter();
    set.file.extend(own.filter(|file| file.name() == "typed_struct.proto"));
    for file in &mut set.file {
        file.source_code_info = None;
    }
    let mut compressed = GzEncoder::new(Vec::new(), Compression::best());
    compressed.write_all(&set.encode_to_vec())?;
    Ok(compressed.finish()?)
}

/// The folder of the workspace's Cargo.toml.
fn workspace_root() -> Result<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(own.parent().context("xtask is in the workspace")?.to_owned())
}
