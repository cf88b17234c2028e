//! `meshctl inject`: the webhook's injection as a filter over YAML text.

use std::io::Read;
use std::path::Path;

use anyhow::Context;
use weft_pilot::inject::{Settings, inject_documents};

use crate::cli::InjectArguments;
use crate::exit::{Exit, Failure};
use crate::output;

/// Longest input in bytes.
const INPUT_BYTES_MAX: u64 = 64 << 20;

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
        let input = read(path)?;
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
    let text = read(path)?;
    serde_saphyr::from_str(&text)
        .map_err(|error| Failure::bad_data(format!("{}: {error}", path.display())))
        .map_err(Into::into)
}

/// The text of a file, or of stdin for `-`.
fn read(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let mut input: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        let file = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        Box::new(file)
    };
    let read = input.by_ref().take(INPUT_BYTES_MAX + 1).read_to_string(&mut text);
    read.with_context(|| format!("cannot read {}", path.display()))?;
    if text.len() as u64 > INPUT_BYTES_MAX {
        return Err(Failure::bad_data(format!("{} has more than {INPUT_BYTES_MAX} bytes", path.display())).into());
    }
    Ok(text)
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
