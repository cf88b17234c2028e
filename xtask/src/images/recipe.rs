//! What is in each image.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::archive::{Content, Entry, Image};
use super::closure::{self, Program};
use crate::workspace;

/// Where every image has its program.
const FOLDER: &str = "usr/local/bin";
/// The proxy's user, whose traffic capture leaves alone.
const PROXY_USER: u32 = 1337;
/// The user of everything else.
const OTHER_USER: u32 = 65532;
/// Roots of public certificate authorities.
const ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub(crate) name: &'static str,
    pub(crate) program: &'static str,
    user: u32,
    /// Whether it programs capture.
    captures: bool,
}

pub(crate) fn all() -> Vec<Recipe> {
    let of = |name, program| Recipe {
        name,
        program,
        user: OTHER_USER,
        captures: false,
    };
    vec![
        Recipe {
            user: PROXY_USER,
            captures: true,
            ..of("proxy", "weft-proxy")
        },
        of("pilot", "weft-pilot"),
        of("citadel", "weft-citadel"),
        of("telemetry", "weft-telemetry"),
        of("meshctl", "meshctl"),
        of("callme", "weft-sample-callme"),
    ]
}

// === impl Recipe ===

impl Recipe {
    /// The image with the program at `built`.
    pub(crate) fn image(&self, name: String, built: &Path) -> Result<Image> {
        let mut programs = vec![Program {
            source: built.to_owned(),
            path: format!("{FOLDER}/{}", self.program),
        }];
        if self.captures {
            programs.extend(capture_programs()?);
        }
        let mut entries = closure::entries(&programs)?;
        if self.captures {
            entries.extend(capture_files()?);
        }
        entries.extend(base(self.user)?);
        Ok(Image {
            name,
            entries,
            entrypoint: vec![format!("/{FOLDER}/{}", self.program)],
            command: Vec::new(),
            user: format!("{0}:{0}", self.user),
            environment: vec!["PATH=/usr/local/bin:/usr/sbin:/usr/bin".to_owned()],
        })
    }
}

/// `nft`, and the older `iptables` for kernels without nf_tables.
fn capture_programs() -> Result<Vec<Program>> {
    let find = |name: &str, package: &str| {
        let found = workspace::on_path(name);
        let source = found.with_context(|| format!("{name} (Debian: {package}) belongs into the proxy's image"))?;
        Ok::<_, anyhow::Error>(Program {
            source,
            path: format!("usr/sbin/{name}"),
        })
    };
    Ok(vec![
        find("nft", "nftables")?,
        find("xtables-legacy-multi", "iptables")?,
    ])
}

/// The names of iptables' program, and its plug-ins.
fn capture_files() -> Result<Vec<Entry>> {
    let names = [
        "iptables",
        "iptables-save",
        "iptables-restore",
        "ip6tables",
        "ip6tables-save",
        "ip6tables-restore",
    ];
    let links = names.map(|name| Entry {
        path: format!("usr/sbin/{name}"),
        mode: 0o777,
        content: Content::Link("xtables-legacy-multi".to_owned()),
    });
    let folder = plug_ins()?;
    let files = std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files: Vec<PathBuf> = files.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let plug_ins = files
        .into_iter()
        .filter(|file| file.extension().is_some_and(|ending| ending == "so"))
        .map(|file| Entry {
            path: file.to_string_lossy().trim_start_matches('/').to_owned(),
            mode: 0o644,
            content: Content::File(file),
        });
    Ok(links.into_iter().chain(plug_ins).collect())
}

fn plug_ins() -> Result<PathBuf> {
    let machine = format!("{}-linux-gnu", std::env::consts::ARCH);
    let candidates = [
        format!("/usr/lib/{machine}/xtables"),
        "/usr/lib64/xtables".to_owned(),
        "/usr/lib/xtables".to_owned(),
    ];
    let found = candidates.iter().map(PathBuf::from).find(|folder| folder.is_dir());
    found.context("the plug-ins of iptables are in none of the usual folders")
}

/// What any program reads: users, how names are resolved, public roots, and a place for temporary files.
fn base(user: u32) -> Result<Vec<Entry>> {
    let text = |path: &str, text: String| Entry {
        path: path.to_owned(),
        mode: 0o644,
        content: Content::Text(text),
    };
    let roots =
        std::fs::read_to_string(ROOTS).with_context(|| format!("cannot read {ROOTS} (Debian: ca-certificates)"))?;
    Ok(vec![
        text(
            "etc/passwd",
            format!("root:x:0:0::/:/sbin/nologin\nweft:x:{user}:{user}::/:/sbin/nologin\n"),
        ),
        text("etc/group", format!("root:x:0:\nweft:x:{user}:\n")),
        text("etc/nsswitch.conf", "hosts: files dns\n".to_owned()),
        text(&ROOTS[1..], roots),
        Entry {
            path: "tmp".to_owned(),
            mode: 0o1777,
            content: Content::Directory,
        },
        // iptables keeps its lock here.
        Entry {
            path: "run".to_owned(),
            mode: 0o755,
            content: Content::Directory,
        },
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_proxy_has_the_user_that_is_not_captured() {
        for recipe in all() {
            assert_eq!(recipe.user == PROXY_USER, recipe.name == "proxy", "{}", recipe.name);
            assert_ne!(recipe.user, 0);
        }
    }
}
