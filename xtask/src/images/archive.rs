//! Writes a container image as one tar file, the form that `docker load`, `ctr images import` and `kind load` take: a manifest,
//! a configuration and one layer. The same input gives the same bytes.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// An image to be written.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// Full name with registry and tag.
    pub(crate) name: String,
    pub(crate) entries: Vec<Entry>,
    pub(crate) entrypoint: Vec<String>,
    pub(crate) command: Vec<String>,
    /// `USER[:GROUP]` as numbers; containers run as root where it is empty.
    pub(crate) user: String,
    pub(crate) environment: Vec<String>,
}

/// Something in the image's file system, owned by root.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Absolute, without the first slash.
    pub(crate) path: String,
    pub(crate) mode: u32,
    pub(crate) content: Content,
}

/// What an entry is.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Directory,
    /// A copy of a file of this machine.
    File(PathBuf),
    Text(String),
    Link(String),
}

/// Writes the image.
pub(crate) fn write(image: &Image, path: &Path) -> Result<()> {
    let layer = layer(&image.entries)?;
    let layer_digest = hex(&Sha256::digest(&layer));
    let config = config(image, &layer_digest).to_string();
    let config_name = format!("{}.json", hex(&Sha256::digest(config.as_bytes())));
    let layer_name = format!("{layer_digest}/layer.tar");
    let manifest = json!([{"Config": config_name, "RepoTags": [image.name], "Layers": [layer_name]}]).to_string();
    let unfinished = path.with_extension("unfinished");
    let file = File::create(&unfinished).with_context(|| format!("cannot create {}", unfinished.display()))?;
    let mut tar = Builder::new(std::io::BufWriter::new(file));
    append(&mut tar, &config_name, 0o644, config.as_bytes())?;
    directory(&mut tar, &layer_digest, 0o755)?;
    append(&mut tar, &layer_name, 0o644, &layer)?;
    append(&mut tar, "manifest.json", 0o644, manifest.as_bytes())?;
    tar.into_inner()?.flush()?;
    fs::rename(&unfinished, path).with_context(|| format!("cannot write {}", path.display()))
}

/// The file system, in the order given; folders above an entry are made as they are needed.
fn layer(entries: &[Entry]) -> Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    let mut made: Vec<String> = Vec::new();
    for entry in entries {
        for (end, _) in entry.path.match_indices('/') {
            let parent = &entry.path[..end];
            if !made.iter().any(|known| known == parent) {
                directory(&mut tar, parent, 0o755)?;
                made.push(parent.to_owned());
            }
        }
        match &entry.content {
            Content::Directory => {
                directory(&mut tar, &entry.path, entry.mode)?;
                made.push(entry.path.clone());
            }
            Content::File(source) => {
                let bytes = fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
                append(&mut tar, &entry.path, entry.mode, &bytes)?;
            }
            Content::Text(text) => append(&mut tar, &entry.path, entry.mode, text.as_bytes())?,
            Content::Link(target) => {
                let mut header = header(EntryType::Symlink, 0o777, 0);
                tar.append_link(&mut header, &entry.path, target)?;
            }
        }
    }
    Ok(tar.into_inner()?)
}

fn config(image: &Image, layer_digest: &str) -> Value {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    json!({
        "architecture": architecture,
        "os": "linux",
        // A date would make every build another image.
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "Entrypoint": image.entrypoint,
            "Cmd": image.command,
            "Env": image.environment,
            "User": image.user,
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_digest}")]},
        "history": [{"created": "1970-01-01T00:00:00Z"}],
    })
}

fn append(tar: &mut Builder<impl Write>, path: &str, mode: u32, bytes: &[u8]) -> Result<()> {
    let mut header = header(EntryType::Regular, mode, u64::try_from(bytes.len())?);
    tar.append_data(&mut header, path, bytes)
        .with_context(|| format!("cannot write {path}"))
}

fn directory(tar: &mut Builder<impl Write>, path: &str, mode: u32) -> Result<()> {
    let mut header = header(EntryType::Directory, mode, 0);
    tar.append_data(&mut header, format!("{path}/"), std::io::empty())
        .with_context(|| format!("cannot write {path}"))
}

/// Owner root, no date.
fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Image {
        let text = |path: &str, mode, text: &str| Entry {
            path: path.to_owned(),
            mode,
            content: Content::Text(text.to_owned()),
        };
        Image {
            name: "weft.local/sample:1".to_owned(),
            entries: vec![
                text("usr/bin/a", 0o755, "x"),
                text("usr/bin/b", 0o755, "y"),
                Entry {
                    path: "tmp".to_owned(),
                    mode: 0o1777,
                    content: Content::Directory,
                },
                Entry {
                    path: "bin/a".to_owned(),
                    mode: 0o777,
                    content: Content::Link("/usr/bin/a".to_owned()),
                },
            ],
            entrypoint: vec!["/usr/bin/a".to_owned()],
            command: vec![],
            user: "1337:1337".to_owned(),
            environment: vec![],
        }
    }

    fn listing(bytes: &[u8]) -> Vec<(String, u32, u64)> {
        let mut archive = tar::Archive::new(bytes);
        let entries = archive.entries().unwrap().map(Result::unwrap);
        let row = |entry: tar::Entry<'_, &[u8]>| {
            let header = entry.header();
            let path = entry.path().unwrap().display().to_string();
            (path, header.mode().unwrap(), header.mtime().unwrap())
        };
        entries.map(row).collect()
    }

    #[test]
    fn a_layer_has_each_folder_once_and_no_dates() {
        let layer = layer(&sample().entries).unwrap();
        let names: Vec<(String, u32)> = listing(&layer)
            .into_iter()
            .map(|(path, mode, time)| {
                assert_eq!(time, 0, "{path}");
                (path, mode)
            })
            .collect();
        let expected = [
            ("usr/", 0o755),
            ("usr/bin/", 0o755),
            ("usr/bin/a", 0o755),
            ("usr/bin/b", 0o755),
            ("tmp/", 0o1777),
            ("bin/", 0o755),
            ("bin/a", 0o777),
        ];
        assert_eq!(names, expected.map(|(path, mode)| (path.to_owned(), mode)));
    }

    #[test]
    fn names_are_digests_and_bytes_repeat() {
        let dir = std::env::temp_dir().join(format!("weft-archive-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let (one, two) = (dir.join("one.tar"), dir.join("two.tar"));
        write(&sample(), &one).unwrap();
        write(&sample(), &two).unwrap();
        let bytes = fs::read(&one).unwrap();
        assert_eq!(bytes, fs::read(&two).unwrap());
        fs::remove_dir_all(&dir).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut files = std::collections::BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
            files.insert(entry.path().unwrap().display().to_string(), content);
        }
        let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        let config = manifest[0]["Config"].as_str().unwrap();
        assert_eq!(config, format!("{}.json", hex(&Sha256::digest(&files[config]))));
        let layer = manifest[0]["Layers"][0].as_str().unwrap();
        let config: Value = serde_json::from_slice(&files[config]).unwrap();
        assert_eq!(
            config["rootfs"]["diff_ids"][0],
            format!("sha256:{}", hex(&Sha256::digest(&files[layer])))
        );
        assert_eq!(config["config"]["User"], "1337:1337");
    }
}
