//! What verbs print on stdout: aligned columns as Istio's tool has them, JSON, or YAML.

use std::io::Write;

use anyhow::Context;
use clap::ValueEnum;
use comfy_table::{Table as Grid, presets};
use serde::Serialize;

/// Form of the printed data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns for people; their form may change.
    #[default]
    #[value(alias = "text")]
    Table,
    /// The same; of check one line for each finding that is not good.
    Short,
    /// One JSON document with a stable shape.
    Json,
    /// The same as YAML.
    Yaml,
}

/// Rows of text under headers.
#[derive(Debug)]
pub(crate) struct Table {
    headers: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

// === impl Table ===

impl Table {
    pub(crate) fn new(headers: &[&'static str]) -> Self {
        Self {
            headers: headers.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds one row, with a cell for each header.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.headers.len());
        self.rows.push(cells.into());
    }

    /// Sorts the rows by their first cell, then the next, and so on, and leaves out repeated ones: an Envoy lists a secret
    /// once for each place that names it.
    pub(crate) fn sort(&mut self) {
        self.rows.sort();
        self.rows.dedup();
    }

    /// Columns four spaces apart, no lines, no space at the ends of lines.
    pub(crate) fn render(&self) -> String {
        let mut grid = Grid::new();
        grid.load_style(presets::NOTHING);
        grid.set_header(self.headers.clone());
        grid.add_rows(self.rows.clone());
        for column in grid.column_iter_mut() {
            column.set_padding((0, 4));
        }
        let mut text = String::new();
        for line in grid.lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Prints `value`, as the table that `table` makes of it or as it is.
pub(crate) fn print<T: Serialize>(format: Format, value: &T, table: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
    let text = match format {
        Format::Table | Format::Short => table(value),
        Format::Json => json(value)?,
        Format::Yaml => yaml(value)?,
    };
    write(&text)
}

/// Writes text to stdout. A reader that has gone, such as `head`, is no error.
pub(crate) fn write(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to stdout"),
    }
}

/// Says something on stderr, in one piece. Colour codes in it are dropped where stderr is no terminal or `NO_COLOR` is set.
pub(crate) fn say(text: &str) {
    let mut err = anstream::stderr().lock();
    // There is nowhere left to report that stderr is gone.
    let _ = writeln!(err, "{text}");
}

/// An error with its causes, each said once: many errors have the words of their cause in their own.
pub(crate) fn causes(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) && !text.contains(&format!(": {cause}")) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

pub(crate) fn json<T: Serialize>(value: &T) -> anyhow::Result<String> {
    let mut text = serde_json::to_string_pretty(value).context("cannot write JSON")?;
    text.push('\n');
    Ok(text)
}

pub(crate) fn yaml<T: Serialize>(value: &T) -> anyhow::Result<String> {
    serde_saphyr::to_string(value).context("cannot write YAML")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let error = anyhow::anyhow!("no such file")
            .context("cannot read a: no such file")
            .context("no cluster");
        assert_eq!(causes(&error), "no cluster: cannot read a: no such file");
        assert_eq!(causes(&anyhow::anyhow!("b").context("a")), "a: b");
    }

    #[test]
    fn columns_align_and_lines_end_clean() {
        let mut table = Table::new(&["NAME", "PORT", "STATE"]);
        table.row(["callme-v1-0".into(), "80".into(), "ready".into()]);
        table.row(["b".into(), "8080".into(), String::new()]);
        table.sort();
        expect![[r#"
            NAME           PORT    STATE
            b              8080
            callme-v1-0    80      ready
        "#]]
        .assert_eq(&table.render());
    }
}
