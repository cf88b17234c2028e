//! `meshctl inject`: the webhook's injection as a filter over YAML text.

use std::path::{Path, PathBuf};

use clap::Args;
use weft_mesh::inject::{Settings, inject_documents};

use crate::exit::{Exit, Failure};
use crate::{input, output};

/// What to inject, and how.
#[derive(Args, Clone, Debug)]
pub(crate) struct InjectArguments {
    /// File with YAML documents; `-` reads from stdin. May be given several times.
    #[arg(short, long, value_name = "FILE", required = true)]
    pub(crate) file: Vec<PathBuf>,
    /// Settings of the injector as YAML; otherwise those of a default installation.
    #[arg(long, value_name = "FILE")]
    pub(crate) settings: Option<PathBuf>,
    /// Revision of the control plane that the pods belong to.
    #[arg(long, value_name = "NAME")]
    pub(crate) revision: Option<String>,
}

/// Prints the injected documents; what the user should know goes to stderr.
pub(crate) fn run(arguments: &InjectArguments) -> anyhow::Result<Exit> {
    let mut settings = match &arguments.settings {
        Some(path) => read_settings(path)?,
        None => Settings::default(),
    };
    if let Some(revision) = &arguments.revision {
        settings.revision.clone_from(revision);
    }
    let mut text = String::new();
    for path in &arguments.file {
        let input = input::read(path)?;
        let injected = inject_documents(&input, &settings);
        let injected = injected.map_err(|error| Failure::bad_data(format!("{}: {error}", path.display())))?;
        for note in &injected.notes {
            output::say(note);
        }
        append(&mut text, &injected.text);
    }
    output::write(&text)?;
    Ok(Exit::Ok)
}

/// Puts the documents of another file behind those that are there.
fn append(text: &mut String, more: &str) {
    if text.is_empty() {
        text.push_str(more);
        return;
    }
    let more = more.strip_prefix('\u{feff}').unwrap_or(more);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    // Directives stand before the first mark of their document, so what comes before must end (YAML 1.2.2, 9.2).
    if more.starts_with('%') {
        text.push_str("...\n");
    } else if !more.starts_with("---") {
        text.push_str("---\n");
    }
    text.push_str(more);
}

fn read_settings(path: &Path) -> anyhow::Result<Settings> {
    let text = input::read(path)?;
    serde_saphyr::from_str(&text)
        .map_err(|error| Failure::bad_data(format!("{}: {error}", path.display())))
        .map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_of_two_files_stay_apart() {
        for (first, second, expected) in [
            ("", "a: 1", "a: 1"),
            ("a: 1", "b: 2\n", "a: 1\n---\nb: 2\n"),
            ("a: 1\n", "b: 2\n", "a: 1\n---\nb: 2\n"),
            ("a: 1", "---\nb: 2", "a: 1\n---\nb: 2"),
            ("a: 1", "\u{feff}b: 2", "a: 1\n---\nb: 2"),
            ("a: 1", "%YAML 1.2\n---\nb: 2", "a: 1\n...\n%YAML 1.2\n---\nb: 2"),
        ] {
            let mut text = first.to_owned();
            append(&mut text, second);
            assert_eq!(text, expected);
        }
    }
}
