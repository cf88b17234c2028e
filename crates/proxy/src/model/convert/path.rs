//! Where in a resource a conversion is, and what of the resource may be refused alone.
//!
//! A static resource must be good as a whole. Of a discovered one each part (a route, a filter chain, an access log) is refused by itself:
//! what is wrong with it is noted, with its place, and the conversion goes on without it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use super::{ConvertError, Result, Unsupported};

/// Where in a resource a conversion is.
#[derive(Clone, Debug, Default)]
pub struct Path {
    text: String,
    /// What the part belongs to, for people.
    owner: Option<Rc<str>>,
    /// Where refused parts are noted; `None` where everything must be good.
    refusals: Option<Rc<Refusals>>,
}

/// What of one discovered resource is refused.
#[derive(Debug, Default)]
pub struct Refusals {
    /// Fields that are set and not carried and that no part has answered for yet: reasons by path.
    unsupported: RefCell<BTreeMap<String, Vec<String>>>,
    found: RefCell<Vec<ConvertError>>,
}

// === impl Refusals ===

impl Refusals {
    /// Nothing is refused yet, but for these fields.
    pub fn new(unsupported: Vec<Unsupported>) -> Self {
        let mut by_path = BTreeMap::<String, Vec<String>>::new();
        for field in unsupported {
            by_path.entry(field.path).or_default().push(field.reason);
        }
        Self {
            unsupported: RefCell::new(by_path),
            found: RefCell::default(),
        }
    }

    /// Everything that was refused, each part by its place.
    pub fn found(&self) -> Vec<ConvertError> {
        self.found.borrow().clone()
    }

    /// The paths of fields at or below a place that no part has answered for yet.
    fn below(&self, place: &str) -> Vec<String> {
        let unsupported = self.unsupported.borrow();
        let from_here = unsupported.range(place.to_owned()..).map(|(path, _)| path);
        let from_here = from_here.take_while(|path| path.starts_with(place));
        let is_within =
            |path: &&String| place.is_empty() || matches!(path.as_bytes().get(place.len()), None | Some(b'.' | b'['));
        from_here.filter(is_within).cloned().collect()
    }

    /// Notes the fields at or below a place that are not carried; whether there were any.
    fn claim(&self, at: &Path) -> bool {
        let paths = self.below(&at.text);
        for path in &paths {
            let reasons = self.unsupported.borrow_mut().remove(path).unwrap_or_default();
            for reason in reasons {
                self.note(
                    at,
                    ConvertError {
                        path: path.clone(),
                        reason,
                    },
                );
            }
        }
        !paths.is_empty()
    }

    fn note(&self, at: &Path, error: ConvertError) {
        let reason = match &at.owner {
            Some(owner) => format!("{} ({owner})", error.reason),
            None => error.reason,
        };
        let error = ConvertError { reason, ..error };
        let mut found = self.found.borrow_mut();
        // Some parts are read twice: alone, and with what is around them.
        if !found.contains(&error) {
            found.push(error);
        }
    }
}

// === impl Path ===

impl Path {
    /// The resource itself, in which everything must be good; `name` heads every path below it.
    pub fn root(name: &str) -> Self {
        Self {
            text: name.to_owned(),
            ..Self::default()
        }
    }

    /// A discovered resource, whose parts are refused one by one.
    pub fn of_parts(refusals: &Rc<Refusals>) -> Self {
        Self {
            refusals: Some(refusals.clone()),
            ..Self::default()
        }
    }

    /// A field of what is here.
    pub fn field(&self, name: &str) -> Self {
        if self.text.is_empty() {
            return self.with(name.to_owned());
        }
        self.with(format!("{}.{name}", self.text))
    }

    pub(in crate::model) fn index(&self, index: usize) -> Self {
        self.with(format!("{}[{index}]", self.text))
    }

    pub(in crate::model) fn key(&self, key: &str) -> Self {
        self.with(format!("{}[{key:?}]", self.text))
    }

    /// The same place, as a part of what is named so.
    pub(in crate::model) fn owned_by(&self, owner: &str) -> Self {
        let owner = match &self.owner {
            Some(outer) => format!("{outer}, {owner}"),
            None => owner.to_owned(),
        };
        Self {
            owner: Some(owner.into()),
            ..self.clone()
        }
    }

    /// An error that names this place.
    pub fn error(&self, reason: impl fmt::Display) -> ConvertError {
        ConvertError {
            path: self.text.clone(),
            reason: reason.to_string(),
        }
    }

    /// Converts what may be refused alone. `None` where it was, which is noted; an error where everything must be good.
    pub fn part<T>(&self, convert: impl FnOnce(&Self) -> Result<T>) -> Result<Option<T>> {
        let Some(refusals) = &self.refusals else {
            return convert(self).map(Some);
        };
        let converted = convert(self);
        // A field that is not carried mostly is why the conversion fails as well.
        if refusals.claim(self) {
            return Ok(None);
        }
        match converted {
            Ok(part) => Ok(Some(part)),
            Err(error) => {
                refusals.note(self, error);
                Ok(None)
            }
        }
    }

    fn with(&self, text: String) -> Self {
        Self { text, ..self.clone() }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
