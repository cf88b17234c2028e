//! YAML text to a tree of values that know their line and column.
//!
//! Limits on size, depth and aliases hold here, so that nothing later has to think of them.

use std::collections::{HashMap, HashSet};

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use crate::meta::Position;

/// Documents nested deeper than this are refused; real objects stay below twenty.
pub(super) const DEPTH_MAX: usize = 64;

/// Most values in one document, after aliases are expanded.
pub(super) const NODES_MAX: usize = 200_000;

pub(super) const DOCUMENT_BYTES_MAX: usize = 4 << 20;

/// A value and where it starts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// A scalar as written; `plain` is without quotes, so that `true` and `1` are not text.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key of a map and its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) at: Position,
    pub(super) node: Node,
}

/// Text that is no document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub(super) at: Position,
    pub(super) message: String,
    pub(super) hint: &'static str,
}

/// One document of a file: its text, and how many lines come before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunk<'a> {
    pub(super) text: &'a str,
    pub(super) lines_before: u32,
}

/// Cuts a file at its document markers: `---` at the start of a line is one wherever it stands (YAML 1.2.2, 9.1.2), so a
/// document that cannot be read takes none of the others with it.
pub(super) fn documents(text: &str) -> Vec<Chunk<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut chunks = Vec::new();
    let (mut start, mut start_line, mut offset) = (0, 0, 0);
    for (line_number, line) in (0..).zip(text.split_inclusive('\n')) {
        let marker = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        if marker && offset > start {
            chunks.push(Chunk {
                text: &text[start..offset],
                lines_before: start_line,
            });
            (start, start_line) = (offset, line_number);
        }
        offset += line.len();
    }
    chunks.push(Chunk {
        text: &text[start..],
        lines_before: start_line,
    });
    chunks
}

/// Reads one document; `None` if it has no content.
pub(super) fn read(chunk: Chunk<'_>) -> Result<Option<Node>, SyntaxError> {
    if chunk.text.len() > DOCUMENT_BYTES_MAX {
        return Err(SyntaxError {
            at: Position::new(chunk.lines_before + 1, 1),
            message: format!("the document has more than {DOCUMENT_BYTES_MAX} bytes"),
            hint: "split it",
        });
    }
    let mut builder = Builder {
        lines_before: chunk.lines_before,
        ..Builder::default()
    };
    let mut root = None;
    for event in Parser::new_from_str(chunk.text) {
        let (event, span) = event.map_err(|error| builder.scan_error(&error))?;
        if let Some(node) = builder.take(event, span)? {
            if root.is_some() {
                return Err(SyntaxError {
                    at: node.at,
                    message: "a second document starts without a `---` line".to_owned(),
                    hint: "put `---` on a line of its own between documents",
                });
            }
            root = Some(node);
        }
    }
    Ok(root.filter(|node| !node.is_null()))
}

/// A collection that is still open.
#[derive(Debug)]
enum Open {
    List {
        at: Position,
        anchor: usize,
        items: Vec<Node>,
    },
    Map {
        at: Position,
        anchor: usize,
        entries: Vec<Entry>,
        key: Option<(String, Position)>,
    },
}

#[derive(Debug, Default)]
struct Builder {
    lines_before: u32,
    open: Vec<Open>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
}

impl Builder {
    fn position(&self, span: Span) -> Position {
        let line = u32::try_from(span.start.line()).unwrap_or(u32::MAX);
        let column = u32::try_from(span.start.col()).unwrap_or(u32::MAX);
        Position::new(line.saturating_add(self.lines_before), column.saturating_add(1))
    }

    fn scan_error(&self, error: &ScanError) -> SyntaxError {
        let mark = error.marker();
        SyntaxError {
            at: self.position(Span::empty(*mark)),
            message: format!("is not valid YAML: {}", error.info()),
            hint: "check indentation, quotes and colons near this line",
        }
    }

    /// Takes one event; gives the document's value when it is complete.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the event enum is non-exhaustive")]
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<Option<Node>, SyntaxError> {
        let at = self.position(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let as_text = tag.as_ref().is_some_and(|tag| tag.core_suffix() == Some("str"));
                let value = Value::Scalar {
                    text: text.into_owned(),
                    plain: style == ScalarStyle::Plain && !as_text,
                };
                self.close(Node { at, value }, anchor, 1)
            }
            Event::SequenceStart(_, anchor, _) => {
                let items = Vec::new();
                self.push(at, Open::List { at, anchor, items })
            }
            Event::MappingStart(_, anchor, _) => self.push(
                at,
                Open::Map {
                    at,
                    anchor,
                    entries: Vec::new(),
                    key: None,
                },
            ),
            Event::SequenceEnd | Event::MappingEnd => {
                let (node, anchor) = match self.open.pop() {
                    Some(Open::List { at, anchor, items }) => (
                        Node {
                            at,
                            value: Value::List(items),
                        },
                        anchor,
                    ),
                    Some(Open::Map {
                        at, anchor, entries, ..
                    }) => (
                        Node {
                            at,
                            value: Value::Map(merged(entries)),
                        },
                        anchor,
                    ),
                    None => return Ok(None),
                };
                self.close(node, anchor, 1)
            }
            Event::Alias(id) => match self.anchors.get(&id).cloned() {
                Some((mut node, size)) => {
                    node.at = at;
                    self.close(node, 0, size)
                }
                None => Err(SyntaxError {
                    at,
                    message: "an alias refers to the collection that it is part of".to_owned(),
                    hint: "write the value out",
                }),
            },
            Event::UnresolvedAlias(name) => Err(SyntaxError {
                at,
                message: format!("the alias *{name} has no anchor"),
                hint: "define it with & before its first use",
            }),
            // Markers and comments; the enum may grow.
            _ => Ok(None),
        }
    }

    fn push(&mut self, at: Position, open: Open) -> Result<Option<Node>, SyntaxError> {
        if self.open.len() >= DEPTH_MAX {
            return Err(SyntaxError {
                at,
                message: format!("the document is nested deeper than {DEPTH_MAX} levels"),
                hint: "check the indentation",
            });
        }
        self.open.push(open);
        Ok(None)
    }

    /// A value is complete: into the open collection with it.
    fn close(&mut self, node: Node, anchor: usize, size: usize) -> Result<Option<Node>, SyntaxError> {
        self.nodes = self.nodes.saturating_add(size);
        if self.nodes > NODES_MAX {
            return Err(SyntaxError {
                at: node.at,
                message: format!("the document has more than {NODES_MAX} values"),
                hint: "split it, or use fewer aliases",
            });
        }
        if anchor != 0 {
            let size = node.size();
            self.anchors.insert(anchor, (node.clone(), size));
        }
        match self.open.last_mut() {
            None => return Ok(Some(node)),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, key, .. }) => match key.take() {
                Some((name, at)) => entries.push(Entry { key: name, at, node }),
                None => match node.value {
                    Value::Scalar { text, .. } => *key = Some((text, node.at)),
                    Value::List(_) | Value::Map(_) => {
                        return Err(SyntaxError {
                            at: node.at,
                            message: "a key must be text".to_owned(),
                            hint: "put the key in quotes",
                        });
                    }
                },
            },
        }
        Ok(None)
    }
}

/// Resolves the merge key `<<`: what it brings stands behind what the map says itself.
fn merged(entries: Vec<Entry>) -> Vec<Entry> {
    if entries.iter().all(|entry| entry.key != "<<") {
        return entries;
    }
    let (merges, mut own): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.key == "<<");
    for merge in merges {
        let maps = match merge.node.value {
            Value::Map(map) => vec![map],
            Value::List(items) => items
                .into_iter()
                .filter_map(|item| match item.value {
                    Value::Map(map) => Some(map),
                    Value::Scalar { .. } | Value::List(_) => None,
                })
                .collect(),
            Value::Scalar { .. } => Vec::new(),
        };
        let mut known: HashSet<String> = own.iter().map(|entry| entry.key.clone()).collect();
        for entry in maps.into_iter().flatten() {
            if known.insert(entry.key.clone()) {
                own.push(entry);
            }
        }
    }
    own
}

// === impl Node ===

impl Node {
    /// Nothing: an empty plain scalar, `~` or `null`, which Kubernetes treats like an absent field.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// A list without items, which protobuf cannot tell from an absent one.
    pub(super) fn is_empty_list(&self) -> bool {
        matches!(&self.value, Value::List(items) if items.is_empty())
    }

    /// What it is, for people.
    pub(super) fn describe(&self) -> &'static str {
        match &self.value {
            Value::List(_) => "a list",
            Value::Map(_) => "an object",
            Value::Scalar { text, plain } => {
                if self.is_null() {
                    "empty"
                } else if !plain {
                    "text"
                } else if matches!(text.as_str(), "true" | "false" | "True" | "False" | "TRUE" | "FALSE") {
                    "a boolean"
                } else if is_number(text) {
                    "a number"
                } else {
                    "text"
                }
            }
        }
    }

    /// The same value without lines and columns.
    pub(super) fn without_places(self) -> Self {
        let at = Position::default();
        let value = match self.value {
            Value::Scalar { text, plain } => Value::Scalar { text, plain },
            Value::List(items) => Value::List(items.into_iter().map(Self::without_places).collect()),
            Value::Map(entries) => {
                let entries = entries.into_iter().map(|entry| Entry {
                    at,
                    node: entry.node.without_places(),
                    ..entry
                });
                Value::Map(entries.collect())
            }
        };
        Self { at, value }
    }

    fn size(&self) -> usize {
        match &self.value {
            Value::Scalar { .. } => 1,
            Value::List(items) => 1 + items.iter().map(Self::size).sum::<usize>(),
            Value::Map(entries) => 1 + entries.iter().map(|entry| entry.node.size()).sum::<usize>(),
        }
    }
}

/// Whether a plain scalar is a number in YAML's core schema (YAML 1.2.2, 10.3.2).
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if let Some(hex) = digits.strip_prefix("0x") {
        return !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit());
    }
    if let Some(octal) = digits.strip_prefix("0o") {
        return !octal.is_empty() && octal.bytes().all(|b| (b'0'..=b'7').contains(&b));
    }
    digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.bytes().any(|b| b.is_ascii_digit())
        && digits.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> SyntaxError {
        documents(text).into_iter().find_map(|chunk| read(chunk).err()).unwrap()
    }

    #[test]
    fn documents_are_cut_at_markers_and_keep_their_lines() {
        let chunks = documents("# c\n---\na: 1\n--- # second\nb: 2\n---\n");
        let lines: Vec<u32> = chunks.iter().map(|chunk| chunk.lines_before).collect();
        assert_eq!(lines, [0, 1, 3, 5]);
        let second = read(chunks[2]).unwrap().unwrap();
        let Value::Map(entries) = &second.value else {
            panic!("not a map: {second:?}")
        };
        assert_eq!((entries[0].key.as_str(), entries[0].at), ("b", Position::new(5, 1)));
        assert_eq!(read(chunks[0]).unwrap(), None);
        assert_eq!(read(chunks[3]).unwrap(), None);
    }

    #[test]
    fn aliases_and_merge_keys_are_expanded_within_the_limits() {
        let text = "base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3\n";
        let node = read(documents(text)[0]).unwrap().unwrap();
        let Value::Map(entries) = node.value else { panic!() };
        let Value::Map(merged) = &entries[1].node.value else {
            panic!()
        };
        let keys: Vec<&str> = merged.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(keys, ["y", "x"]);

        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..10 {
            let last = level - 1;
            let list = vec![format!("*a{last}"); 10].join(",");
            bomb.push_str(&format!("a{level}: &a{level} [{list}]\n"));
        }
        assert!(error(&bomb).message.contains("more than 200000 values"));
        assert!(error(&"- ".repeat(80)).message.contains("nested deeper"));
    }

    #[test]
    fn syntax_errors_name_line_and_column() {
        let found = error("a: 1\n---\nb: [1, 2\nc: 3\n");
        assert_eq!(found.at.line, 4, "{found:?}");
        let found = error("a: *nope\n");
        assert_eq!(found.at, Position::new(1, 4), "{found:?}");
    }

    #[test]
    fn numbers_are_told_from_text() {
        for (text, number) in [
            ("1", true),
            ("-1.5", true),
            ("1e3", true),
            ("0x1F", true),
            (".5", true),
            ("1h", false),
            ("v1", false),
            ("1.2.3", false),
            ("inf", false),
            (".", false),
        ] {
            assert_eq!(is_number(text), number, "{text}");
        }
    }
}
