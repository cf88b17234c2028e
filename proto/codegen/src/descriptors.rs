//! Descriptors: of Envoy's API as the crate of its types ships them, and of our own .proto files.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;
use prost_reflect::DescriptorPool;
use prost_types::FileDescriptorSet;
use serde_json::Value;

/// Our own .proto files.
const OWN: [&str; 4] = ["ca.proto", "names.proto", "otlp.proto", "typed_struct.proto"];
/// The one that Envoy's API has and the crate of its types leaves out.
const LEFT_OUT: &str = "typed_struct.proto";
/// The crate that ships the descriptors, and where.
const CRATE: &str = "envoy-types";
const SHIPPED: &str = "src/generated/types.bin";

/// Two sets of files.
pub(crate) struct Descriptors {
    /// Envoy's API without comments: what the programs read YAML and JSON with.
    pub(crate) envoy: FileDescriptorSet,
    /// That and our own files, with their comments.
    pub(crate) everything: FileDescriptorSet,
}

/// Reads all of them; `own` is the folder of our files.
pub(crate) fn all(own: &Path) -> Result<Descriptors> {
    let shipped = folder()?.join(SHIPPED);
    let bytes = std::fs::read(&shipped).with_context(|| format!("cannot read {}", shipped.display()))?;
    let mut everything = FileDescriptorSet::decode(bytes.as_slice())?;
    for file in &mut everything.file {
        file.source_code_info = None;
    }
    for name in OWN {
        let path = own.join(name);
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let parsed = protox_parse::parse(name, &text).with_context(|| format!("cannot read proto/proto/{name}"))?;
        everything.file.push(parsed);
    }
    // The parser leaves types as they are written; the pool looks them up.
    let pool = DescriptorPool::from_file_descriptor_set(everything).context("the .proto files do not fit together")?;
    let everything = FileDescriptorSet {
        file: pool.file_descriptor_protos().cloned().collect(),
    };
    let is_own = |name: &str| OWN.contains(&name) && name != LEFT_OUT;
    let envoy = everything.file.iter().filter(|file| !is_own(file.name()));
    let mut envoy = FileDescriptorSet {
        file: envoy.cloned().collect(),
    };
    for file in &mut envoy.file {
        file.source_code_info = None;
    }
    Ok(Descriptors { envoy, everything })
}

/// As they are committed.
pub(crate) fn compress(set: &FileDescriptorSet) -> Result<Vec<u8>> {
    let mut compressed = GzEncoder::new(Vec::new(), Compression::best());
    compressed.write_all(&set.encode_to_vec())?;
    Ok(compressed.finish()?)
}

/// Where cargo keeps the crate.
fn folder() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut metadata = Command::new(cargo);
    metadata
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = metadata.output().context("cannot start cargo metadata")?;
    ensure!(
        output.status.success(),
        "cargo metadata failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let manifest = { packages }
        .find(|package| package["name"] == CRATE)
        .and_then(|package| package["manifest_path"].as_str())
        .with_context(|| format!("the workspace does not depend on {CRATE}"))?;
    let folder = Path::new(manifest).parent().context("a manifest is in a folder")?;
    Ok(folder.to_owned())
}
