//! Whose journals are wanted: those of a listener, of requests with a header, or everybody's. While nobody's are, a request pays for one
//! relaxed load.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;

use super::{Journal, Whose};

/// Most subjects that are switched on at a time: each request is held against all of them.
const SUBJECTS_MAX: usize = 16;

/// Whose journals are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Connections of a listener, and their requests.
    Listener(Arc<str>),
    /// Requests with this value in a header.
    Header(HeaderName, HeaderValue),
}

/// As many subjects are switched on as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{SUBJECTS_MAX} listeners and headers are switched on already: switch one off with level=off")]
pub struct Full;

/// The switches of a process.
#[derive(Debug, Default)]
pub struct Journals {
    /// Whether anybody's are wanted.
    any: AtomicBool,
    asked: ArcSwap<Asked>,
    changing: Mutex<()>,
}

#[derive(Clone, Debug, Default)]
struct Asked {
    everybody: bool,
    subjects: Vec<Subject>,
}

// === impl Journals ===

impl Journals {
    /// The journal of a connection.
    pub fn connection(&self, whose: Whose<'_>) -> Journal {
        if self.any.load(Ordering::Relaxed) && self.asked.load().wants(whose.listener, None) {
            return Journal::of_connection(whose);
        }
        Journal::default()
    }

    /// The journal of a request that came with these headers.
    pub fn request(&self, whose: Whose<'_>, headers: &HeaderMap) -> Journal {
        if self.any.load(Ordering::Relaxed) && self.asked.load().wants(whose.listener, Some(headers)) {
            return Journal::of_request(whose);
        }
        Journal::default()
    }

    /// Wants everybody's, or only those of subjects.
    pub fn everybody(&self, wanted: bool) {
        let _changing = self.changing.lock();
        let mut asked = Asked::clone(&self.asked.load());
        asked.everybody = wanted;
        self.ask(asked);
    }

    /// Switches a subject on or off.
    pub fn switch(&self, subject: Subject, on: bool) -> Result<(), Full> {
        let _changing = self.changing.lock();
        let mut asked = Asked::clone(&self.asked.load());
        asked.subjects.retain(|known| *known != subject);
        if on {
            if asked.subjects.len() == SUBJECTS_MAX {
                return Err(Full);
            }
            asked.subjects.push(subject);
        }
        self.ask(asked);
        Ok(())
    }

    /// What is switched on.
    pub fn subjects(&self) -> Vec<Subject> {
        self.asked.load().subjects.clone()
    }

    fn ask(&self, asked: Asked) {
        let any = asked.everybody || !asked.subjects.is_empty();
        self.asked.store(Arc::new(asked));
        self.any.store(any, Ordering::Relaxed);
    }
}

// === impl Asked ===

impl Asked {
    /// Whether the journal of a connection, or of a request with `headers`, is wanted.
    fn wants(&self, listener: &str, headers: Option<&HeaderMap>) -> bool {
        let of_subject = |subject: &Subject| match subject {
            Subject::Listener(name) => **name == *listener,
            Subject::Header(name, value) => {
                headers.is_some_and(|headers| headers.get_all(name).iter().any(|got| got == value))
            }
        };
        self.everybody || self.subjects.iter().any(of_subject)
    }
}

// === impl Subject ===

impl fmt::Display for Subject {
    /// As in a query of `/logging`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listener(name) => write!(f, "listener={name}"),
            Self::Header(name, value) => write!(f, "header={name}:{}", String::from_utf8_lossy(value.as_bytes())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(name: &str) -> Subject {
        Subject::Listener(name.into())
    }

    fn header(value: &'static str) -> Subject {
        Subject::Header(HeaderName::from_static("x-debug"), HeaderValue::from_static(value))
    }

    /// Whether a connection and a request with `x-debug: abc` at the listener `front` are wanted.
    fn wanted(journals: &Journals) -> (bool, bool) {
        let headers = [("x-debug", "other"), ("x-debug", "abc")]
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        let asked = journals.asked.load();
        let any = journals.any.load(Ordering::Relaxed);
        (
            any && asked.wants("front", None),
            any && asked.wants("front", Some(&map)),
        )
    }

    #[test]
    fn only_what_is_asked_for_is_wanted() {
        for (subjects, everybody, expected) in [
            (vec![], false, (false, false)),
            (vec![], true, (true, true)),
            (vec![listener("front")], false, (true, true)),
            (vec![listener("fron")], false, (false, false)),
            (vec![header("abc")], false, (false, true)),
            (vec![header("ab"), listener("other")], false, (false, false)),
        ] {
            let journals = Journals::default();
            for subject in &subjects {
                journals.switch(subject.clone(), true).unwrap();
            }
            journals.everybody(everybody);
            assert_eq!(wanted(&journals), expected, "{subjects:?}, everybody: {everybody}");
            journals.everybody(false);
            for subject in subjects {
                journals.switch(subject, false).unwrap();
            }
            assert_eq!(wanted(&journals), (false, false));
        }
    }

    #[test]
    fn subjects_are_bounded_and_counted_once() {
        let journals = Journals::default();
        for i in 0..SUBJECTS_MAX {
            journals.switch(listener(&i.to_string()), true).unwrap();
        }
        assert_eq!(journals.switch(header("abc"), true), Err(Full));
        journals.switch(listener("0"), true).unwrap();
        journals.switch(listener("0"), false).unwrap();
        journals.switch(header("abc"), true).unwrap();
        let last = journals.subjects().pop().map(|subject| subject.to_string());
        assert_eq!(last.as_deref(), Some("header=x-debug:abc"));
    }
}
