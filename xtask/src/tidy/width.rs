//! The width of lines. Data may be wider: texts that a program prints or reads as they are, and tables with an entry a line.

use super::source::{Finding, Source, item_end};

/// Most columns of a line.
const COLUMNS_MAX: usize = 140;

/// What marks a table: the formatter leaves it alone, and so does this.
const TABLE: &str = "#[rustfmt::skip]";

/// Lines that are too wide to be read beside another file.
pub(crate) fn line_width(source: &Source) -> Vec<Finding> {
    if source.is_generated() {
        return Vec::new();
    }
    let text = source.without_raw_strings();
    let tables = tables(&source.code);
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let columns = line.chars().count();
        if columns > COLUMNS_MAX && !tables.contains(&index) {
            let message = format!(
                "has {columns} columns, {COLUMNS_MAX} is the limit: break it; a table of data is marked `{TABLE}`"
            );
            found.push(source.finding(index + 1, message));
        }
    }
    found
}

/// Lines, from 0, of items that are marked as tables.
fn tables(code: &str) -> Vec<usize> {
    let mut lines = Vec::new();
    for (at, _) in code.match_indices(TABLE) {
        let begin = at + TABLE.len();
        let first = code[..at].matches('\n').count();
        let last = first + code[at..begin + item_end(&code[begin..])].matches('\n').count();
        lines.extend(first..=last);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, lines: &[usize]) {
        let found = line_width(&Source::new("a.rs", text));
        let found: Vec<usize> = found.into_iter().map(|finding| finding.line).collect();
        assert_eq!(found, lines, "{text}");
    }

    #[test]
    fn wide_lines_are_found_and_data_is_not() {
        let wide = "x".repeat(COLUMNS_MAX + 1);
        check(&"x".repeat(COLUMNS_MAX), &[]);
        check(&format!("a\n// {wide}\n"), &[2]);
        check(&format!("let a = \"{wide}\";\n"), &[1]);
        check(
            &format!("let a = r#\"{wide}\"#;\nlet b = r\"\n{wide}\n\";\nfn {wide}() {{}}\n"),
            &[5],
        );
        check(
            &format!("{TABLE}\nconst A: &[&str] = &[\n    \"{wide}\",\n];\nconst B: &str = \"{wide}\";\n"),
            &[5],
        );
    }
}
