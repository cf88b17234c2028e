//! A program of this machine with the shared libraries it is linked with, as entries of an image. No other file of a
//! distribution is needed, and the C library is the one that the program was linked against.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::archive::{Content, Entry};
use crate::process;

/// Parts of the C library that it loads by name when it resolves host names; in newer ones they are empty.
const LOADED_LATER: &[&str] = &["libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2"];

/// A program to be put into an image.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) source: PathBuf,
    /// Path in the image, without the first slash.
    pub(crate) path: String,
}

/// The programs and their libraries, each once, in the order of their paths.
pub(crate) fn entries(programs: &[Program]) -> Result<Vec<Entry>> {
    let mut libraries = BTreeSet::new();
    for program in programs {
        let mut ldd = Command::new("ldd");
        let text = process::output(ldd.arg(&program.source))?;
        libraries.extend(parse(&text).with_context(|| program.source.display().to_string())?);
    }
    let later: Vec<PathBuf> = libraries
        .iter()
        .filter(|library| library.ends_with("libc.so.6"))
        .flat_map(|libc| LOADED_LATER.iter().map(|name| libc.with_file_name(name)))
        .filter(|library| library.is_file())
        .collect();
    libraries.extend(later);
    let libraries = libraries.into_iter().map(|library| {
        let path = library.to_string_lossy().trim_start_matches('/').to_owned();
        file(library, path)
    });
    let programs = programs
        .iter()
        .map(|program| file(program.source.clone(), program.path.clone()));
    Ok(libraries.chain(programs).collect())
}

fn file(source: PathBuf, path: String) -> Entry {
    Entry {
        path,
        mode: 0o755,
        content: Content::File(source),
    }
}

/// Paths in what `ldd` prints: `NAME => PATH (ADDRESS)`, or `PATH (ADDRESS)` for the loader.
fn parse(text: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for line in text.lines() {
        let (name, rest) = line.split_once("=>").unwrap_or(("", line));
        ensure!(!rest.contains("not found"), "the library {} is not here", name.trim());
        let path = rest.split(" (").next().unwrap_or_default().trim();
        if path.starts_with('/') {
            found.push(Path::new(path).to_owned());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_the_paths_that_ldd_names() {
        let text = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/libc.so.6 (0x00007f)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let expected = ["/lib/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(parse(text).unwrap(), expected);
        assert!(parse("\tstatically linked\n").unwrap().is_empty());
    }

    #[test]
    fn a_missing_library_is_named() {
        let error = parse("\tlibx.so.1 => not found\n").unwrap_err();
        assert_eq!(error.to_string(), "the library libx.so.1 is not here");
    }
}
