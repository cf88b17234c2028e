//! The shape of a file: module doc, length, length of functions, white space.

use super::source::{Finding, Source};

/// Longest file, in lines that ship.
const FILE_LINES_MAX: usize = 400;
/// Longest function; 70 is the aim.
const FUNCTION_LINES_MAX: usize = 100;

/// Every file says what it is for.
pub(crate) fn module_doc(source: &Source) -> Vec<Finding> {
    if source.is_generated() || source.text.starts_with("//!") {
        return Vec::new();
    }
    vec![source.finding(
        1,
        "starts without `//!`: say in a sentence what the file is responsible for",
    )]
}

/// No file is too long to be read at once.
pub(crate) fn file_length(source: &Source) -> Vec<Finding> {
    let lines = source.production_lines();
    if source.is_generated() || lines <= FILE_LINES_MAX {
        return Vec::new();
    }
    vec![source.finding(
        0,
        format!("has {lines} lines before its tests, {FILE_LINES_MAX} is the limit: split it by idea"),
    )]
}

/// No function is too long to be understood at once.
pub(crate) fn function_length(source: &Source) -> Vec<Finding> {
    if source.is_generated() {
        return Vec::new();
    }
    let too_long = functions(&source.code)
        .into_iter()
        .filter(|(_, _, lines)| *lines > FUNCTION_LINES_MAX);
    too_long
        .map(|(name, line, lines)| {
            source.finding(
                line,
                format!("function `{name}` has {lines} lines, {FUNCTION_LINES_MAX} is the limit: name its steps"),
            )
        })
        .collect()
}

/// Name, first line and number of lines of every function with a body.
fn functions(code: &str) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let starts_word = code[..at]
            .chars()
            .next_back()
            .is_none_or(|c| !c.is_alphanumeric() && c != '_');
        let name: String = code[at + 3..]
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        if !starts_word || name.is_empty() {
            continue;
        }
        let Some(end) = body_end(&code[at..]) else {
            continue;
        };
        let line = code[..at].matches('\n').count() + 1;
        found.push((name, line, code[at..at + end].matches('\n').count() + 1));
    }
    found
}

/// Where the body of a function closes; `None` if it has none.
fn body_end(code: &str) -> Option<usize> {
    let (mut round, mut curly) = (0_i32, 0_i32);
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => round += 1,
            ')' | ']' => round -= 1,
            '{' => curly += 1,
            '}' if curly == 1 => return Some(at),
            '}' => curly -= 1,
            ';' if round == 0 && curly == 0 => return None,
            _ => {}
        }
    }
    None
}

/// No space at a line's end, a newline at the file's end.
pub(crate) fn white_space(path: &str, text: &str) -> Vec<Finding> {
    let finding = |line, message: &str| Finding {
        path: path.to_owned(),
        line,
        message: message.to_owned(),
    };
    // `str::lines` would hide a carriage return.
    let lines = text
        .split('\n')
        .enumerate()
        .filter(|(_, line)| line.ends_with([' ', '\t', '\r']));
    let mut found: Vec<Finding> = lines
        .map(|(index, _)| finding(index + 1, "ends in white space: remove it"))
        .collect();
    if !text.is_empty() && !text.ends_with('\n') {
        found.push(finding(text.lines().count(), "has no newline at the end: add one"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_doc_is_found() {
        assert!(module_doc(&Source::new("a.rs", "//! Doc.\n")).is_empty());
        assert_eq!(module_doc(&Source::new("a.rs", "use std;\n")).len(), 1);
        assert!(module_doc(&Source::new("proto/src/gen/a.rs", "use std;\n")).is_empty());
    }

    #[test]
    fn long_files_are_found_and_tests_do_not_count() {
        let long = "x\n".repeat(FILE_LINES_MAX + 1);
        assert_eq!(file_length(&Source::new("a.rs", &long)).len(), 1);
        let with_tests = format!("x\n#[cfg(test)]\n{long}");
        assert!(file_length(&Source::new("a.rs", &with_tests)).is_empty());
    }

    #[test]
    fn functions_are_measured_over_their_bodies() {
        let code =
            "trait T { fn none(&self, a: [u8; 2]); }\nfn one() {}\nasync fn two() {\n  if x { y }\n}\nlet fn_x = 1;\n";
        let measured: Vec<(String, usize, usize)> = functions(code);
        assert_eq!(measured, [("one".to_owned(), 2, 1), ("two".to_owned(), 3, 3)]);
        let long = format!("fn long() {{\n{}}}\n", "  \"}\";\n".repeat(FUNCTION_LINES_MAX));
        assert_eq!(function_length(&Source::new("a.rs", &long)).len(), 1);
    }

    #[test]
    fn white_space_is_found() {
        assert!(white_space("a", "x\ny\n").is_empty());
        assert_eq!(white_space("a", "x \ny").len(), 2);
        assert_eq!(white_space("a", "x\r\n").len(), 1);
    }
}
