//! Doc comments that say less than the name that they stand on.

use super::source::{Finding, Source, item_end};

/// Words that a doc comment has at least, where it quotes no name and no number.
const WORDS_MIN: usize = 3;

/// What makes help texts of doc comments.
const HELP: &[&str] = &["Args", "Parser", "Subcommand", "ValueEnum"];

/// Doc comments of a word or two, where the name says as much. In flags and verbs they are the help.
pub(crate) fn too_short(source: &Source) -> Vec<Finding> {
    if source.is_generated() {
        return Vec::new();
    }
    let help = help(&source.code);
    let lines: Vec<&str> = source.text.lines().map(str::trim).collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let length = lines[at..].iter().take_while(|line| is_doc(line)).count();
        let text = lines[at..at + length]
            .iter()
            .map(|line| line.trim_start_matches('/').trim());
        let text = text.collect::<Vec<_>>().join(" ");
        let says_little =
            text.split_whitespace().count() < WORDS_MIN && !text.contains(|c: char| c == '`' || c.is_ascii_digit());
        if length > 0 && says_little && !help.contains(&at) && source.is_comment(at) {
            let message =
                "says less than the name: say what it is, its unit or where it comes from, or leave the comment out";
            found.push(source.finding(at + 1, message));
        }
        at += length.max(1);
    }
    found
}

fn is_doc(line: &str) -> bool {
    line.starts_with("///") && !line.starts_with("////")
}

/// Lines, from 0, of types whose comments are help texts.
fn help(code: &str) -> Vec<usize> {
    let mut lines = Vec::new();
    for (at, _) in code.match_indices("#[derive(") {
        let derived = code[at..].split(']').next().unwrap_or_default();
        if derived
            .split(|c: char| !c.is_alphanumeric())
            .any(|name| HELP.contains(&name))
        {
            let first = code[..at].matches('\n').count();
            let begin = at + derived.len() + 1;
            let last = first + code[at..begin + item_end(&code[begin..])].matches('\n').count();
            lines.extend(first..=last);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, lines: &[usize]) {
        let found = too_short(&Source::new("a.rs", text));
        let found: Vec<usize> = found.into_iter().map(|finding| finding.line).collect();
        assert_eq!(found, lines, "{text}");
    }

    #[test]
    fn a_comment_of_two_words_is_found() {
        check("/// Its name.\nname: String,\n", &[1]);
        check("    /// It.\n    #[serde(default)]\n    it: u8,\n", &[1]);
        check("/// How long it\n/// may take.\ntime: u64,\n", &[]);
        check(
            "/// `http.maxRetries`.\nretries: u64,\n/// RFC 7932.\nbrotli: u8,\n",
            &[],
        );
        check(
            "#[derive(Args, Debug)]\nstruct A {\n    /// Trust domain.\n    domain: String,\n}\n/// One.\nstruct B;\n",
            &[6],
        );
        check("//! Doc.\n// Why.\n", &[]);
        check("let text = \"\n/// It.\n\";\n", &[]);
    }
}
