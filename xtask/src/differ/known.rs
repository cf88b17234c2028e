//! Differences that have a reason. `docs/envoy-differences.md` has each of them under its name.

use super::case::Case;
use super::outcome::Difference;

/// A difference on purpose.
pub(super) struct Known {
    /// Its heading in the document.
    pub(super) name: &'static str,
    /// Whether a line that one side has alone comes of it.
    covers: fn(&Case, Line<'_>) -> bool,
}

/// A line that only one of them has.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    pub(super) ours: bool,
    pub(super) text: &'a str,
}

pub(super) const KNOWN: &[Known] = &[
    Known {
        name: "The answer to HTTP/1.0 is HTTP/1.0",
        covers: |case, line| {
            let old = case.requests.iter().any(|request| request.version == "HTTP/1.0");
            old && line.text.starts_with("client start: HTTP/1.")
        },
    },
    Known {
        name: "An answer to HEAD has no transfer coding",
        covers: |case, line| {
            let head = case.requests.iter().any(|request| request.method == "HEAD");
            head && !line.ours && line.text == "client header transfer-encoding: chunked"
        },
    },
];

/// The names of what explains a difference; none where a line is left that nothing explains.
pub(super) fn explains(case: &Case, difference: &Difference) -> Option<Vec<&'static str>> {
    let theirs = difference.envoy.iter().map(|text| Line { ours: false, text });
    let ours = difference.weft.iter().map(|text| Line { ours: true, text });
    let of_line = |line| {
        KNOWN
            .iter()
            .find(|known| (known.covers)(case, line))
            .map(|known| known.name)
    };
    theirs.chain(ours).map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_names_every_known_difference_and_no_other() {
        let document = include_str!("../../../docs/envoy-differences.md");
        let (_, table) = document.split_once("## Known to `differ`").unwrap();
        let headings: Vec<&str> = table.lines().filter_map(|line| line.strip_prefix("### ")).collect();
        assert_eq!(headings, KNOWN.iter().map(|known| known.name).collect::<Vec<_>>());
    }
}
