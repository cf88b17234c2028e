//! Forms of paths: texts and variables between slashes (Envoy `path.match.uri_template.v3.UriTemplateMatchConfig`).

use std::fmt;

/// A form of paths. `*` stands for one segment, `**` for what is left; both may be variables, `{name}`, `{name=a/*}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// One segment: characters of paths but slashes, at least one.
    Segment,
    /// What is left up to the next text, slashes included; it may be nothing.
    Rest,
}

/// Why something is no form of paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("must begin with a slash")]
    NoSlash,
    #[error("has an empty segment")]
    Empty,
    #[error("has a variable that does not end, or ends without a beginning")]
    Unbalanced,
    #[error("has a variable without a name, or with one that is none: letters, digits and underscores, a letter first")]
    Name,
    #[error("has two variables of one name")]
    Twice,
    #[error("has more than five variables")]
    TooMany,
    #[error("has `**` before the end: nothing but texts may follow")]
    RestFirst,
    #[error("has a character that paths do not have, or `*` within a text")]
    Character,
}

/// Envoy's own bounds (`uri_template_lib`).
const VARIABLES_MAX: usize = 5;
const NAME_MAX: usize = 16;

// === impl PathTemplate ===

impl PathTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(source: &str) -> Result<Self, TemplateError> {
        let rest = source.strip_prefix('/').ok_or(TemplateError::NoSlash)?;
        let mut reader = Reader {
            rest,
            parts: vec![Part::Text("/".to_owned())],
            names: Vec::new(),
        };
        reader.read()?;
        Ok(Self { parts: reader.parts })
    }

    /// Whether a path without its query has the form.
    pub fn matches(&self, path: &str) -> bool {
        fits(&self.parts, path)
    }
}

struct Reader<'a> {
    rest: &'a str,
    parts: Vec<Part>,
    names: Vec<&'a str>,
}

impl<'a> Reader<'a> {
    fn read(&mut self) -> Result<(), TemplateError> {
        while !self.rest.is_empty() {
            if let Some(rest) = self.rest.strip_prefix('{') {
                let (inner, rest) = rest.split_once('}').ok_or(TemplateError::Unbalanced)?;
                self.rest = rest;
                self.variable(inner)?;
            } else {
                let end = self.rest.find(['/', '{']).unwrap_or(self.rest.len());
                let (segment, rest) = self.rest.split_at(end);
                self.rest = rest;
                if !segment.is_empty() {
                    self.segment(segment)?;
                }
            }
            if let Some(rest) = self.rest.strip_prefix('/') {
                if rest.starts_with('/') {
                    return Err(TemplateError::Empty);
                }
                self.rest = rest;
                self.push(Part::Text("/".to_owned()))?;
            }
        }
        Ok(())
    }

    fn variable(&mut self, inner: &'a str) -> Result<(), TemplateError> {
        if inner.contains('{') {
            return Err(TemplateError::Unbalanced);
        }
        let (name, pattern) = inner.split_once('=').unwrap_or((inner, "*"));
        let is_name = name.len() <= NAME_MAX
            && name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_name {
            return Err(TemplateError::Name);
        }
        if self.names.contains(&name) {
            return Err(TemplateError::Twice);
        }
        self.names.push(name);
        if self.names.len() > VARIABLES_MAX {
            return Err(TemplateError::TooMany);
        }
        for (index, segment) in pattern.split('/').enumerate() {
            if index > 0 {
                self.push(Part::Text("/".to_owned()))?;
            }
            if segment.is_empty() {
                return Err(TemplateError::Empty);
            }
            self.segment(segment)?;
        }
        Ok(())
    }

    fn segment(&mut self, segment: &str) -> Result<(), TemplateError> {
        let part = match segment {
            "*" => Part::Segment,
            "**" => Part::Rest,
            text if text.contains('}') => return Err(TemplateError::Unbalanced),
            text if text.bytes().all(is_of_path) => Part::Text(text.to_owned()),
            _ => return Err(TemplateError::Character),
        };
        self.push(part)
    }

    fn push(&mut self, part: Part) -> Result<(), TemplateError> {
        let after_rest = self.parts.contains(&Part::Rest);
        match (part, self.parts.last_mut()) {
            (Part::Text(more), Some(Part::Text(text))) => text.push_str(&more),
            (Part::Text(text), _) => self.parts.push(Part::Text(text)),
            (_, _) if after_rest => return Err(TemplateError::RestFirst),
            (wild, _) => self.parts.push(wild),
        }
        Ok(())
    }
}

/// Characters of a literal: those of paths but `*` (RFC 3986, section 3.3; Envoy has it for a wildcard).
fn is_of_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()+,;:@=".contains(&byte)
}

/// Whether a path has the form of parts. What a segment takes is fixed by the next slash, and one `**` alone may be tried at several
/// lengths, so that it takes no longer than the path is.
fn fits(parts: &[Part], path: &str) -> bool {
    let Some((first, others)) = parts.split_first() else {
        return path.is_empty();
    };
    match first {
        Part::Text(text) => path.strip_prefix(text.as_str()).is_some_and(|rest| fits(others, rest)),
        Part::Segment => {
            let end = path.find('/').unwrap_or(path.len());
            // A text may follow within the segment: `{name}.json`.
            match others.first() {
                Some(Part::Text(text)) if !text.starts_with('/') => {
                    let within = &path[..end];
                    let literal = text.split('/').next().unwrap_or_default();
                    (1..=within.len())
                        .filter(|at| within.is_char_boundary(*at) && within[*at..].starts_with(literal))
                        .any(|at| fits(others, &path[at..]))
                }
                _ => end > 0 && fits(others, &path[end..]),
            }
        }
        Part::Rest => match others {
            [] => true,
            [Part::Text(text)] => path.ends_with(text.as_str()),
            _ => false,
        },
    }
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            f.write_str(match part {
                Part::Text(text) => text,
                Part::Segment => "*",
                Part::Rest => "**",
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_the_form_or_not() {
        let check = |template: &str, fit: &[&str], others: &[&str]| {
            let parsed = PathTemplate::parse(template).unwrap();
            for path in fit {
                assert!(parsed.matches(path), "{template} {path}");
            }
            for path in others {
                assert!(!parsed.matches(path), "{template} {path}");
            }
        };
        check("/", &["/"], &["", "/a"]);
        check("/a/*", &["/a/b"], &["/a", "/a/", "/a/b/c", "/b/b"]);
        check("/a/*/c", &["/a/b/c"], &["/a//c", "/a/b/b/c", "/a/b/c/"]);
        check("/a/**", &["/a/", "/a/b", "/a/b/c"], &["/a", "/b/"]);
        check("/**/end", &["/x/end", "/x/y/end", "//end"], &["/end", "/x/end/y"]);
        check("/a/{one}/{rest=**}", &["/a/b/", "/a/b/c/d"], &["/a/b"]);
        check("/{x=a/*}/c", &["/a/b/c"], &["/b/b/c"]);
        check("/*/*", &["/a/b"], &["/a", "/a/b/c"]);
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for (template, error) in [
            ("a", TemplateError::NoSlash),
            ("/a//b", TemplateError::Empty),
            ("/{a", TemplateError::Unbalanced),
            ("/a}", TemplateError::Unbalanced),
            ("/{}", TemplateError::Name),
            ("/{1a}", TemplateError::Name),
            ("/{a}/{a}", TemplateError::Twice),
            ("/{a}/{b}/{c}/{d}/{e}/{f}", TemplateError::TooMany),
            ("/**/*", TemplateError::RestFirst),
            ("/**/**", TemplateError::RestFirst),
            ("/a*", TemplateError::Character),
            ("/a b", TemplateError::Character),
            ("/a?b", TemplateError::Character),
        ] {
            assert_eq!(PathTemplate::parse(template), Err(error), "{template}");
        }
    }
}
