//! What a service says of a request, and how the request changes by it.

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

use crate::stream_info::request::RequestHead;

/// What a service says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// The request may pass, changed.
    Allowed(Box<Changes>),
    /// It is answered.
    Denied(Box<Denial>),
}

/// How a request that may pass is changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Changes {
    pub(super) request: Vec<Change>,
    /// Headers that the request loses.
    pub(super) remove: Vec<HeaderName>,
    /// Headers that its answer gets.
    pub(super) answer: Vec<Change>,
    /// Parameters of the query that are set, and those that go.
    pub(super) query_set: Vec<(String, String)>,
    pub(super) query_remove: Vec<String>,
    pub(super) metadata: Map<String, Value>,
}

/// An answer instead of the upstream's.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Denial {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
    pub(super) metadata: Map<String, Value>,
}

/// One header that changes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    pub(super) name: HeaderName,
    pub(super) value: HeaderValue,
    pub(super) how: How,
}

/// What happens where the header is there already (Envoy `HeaderValueOption.HeaderAppendAction`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// It is another line.
    Append,
    /// It is joined to those that are there; where there is none, nothing happens.
    Join,
    AddIfAbsent,
    Overwrite,
    OverwriteIfThere,
}

/// Whether a field says where a message ends or what its connection does: nobody who decides about a message changes that, since the next
/// one would be read from another place.
pub(super) fn is_of_message(name: &HeaderName) -> bool {
    const NAMES: [&str; 8] = [
        "connection",
        "content-length",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    NAMES.contains(&name.as_str())
}

// === impl Changes ===

impl Changes {
    /// Changes the request.
    pub(super) fn apply(&self, head: &mut RequestHead) {
        for change in &self.request {
            if change.name == header::HOST {
                if matches!(change.how, How::Overwrite | How::OverwriteIfThere) {
                    head.authority = change.value.clone();
                }
            } else {
                change.apply(&mut head.headers);
            }
        }
        for name in self.remove.iter().filter(|name| !is_of_message(name)) {
            head.headers.remove(name);
        }
        if !self.query_set.is_empty() || !self.query_remove.is_empty() {
            self.query(head);
        }
    }

    fn query(&self, head: &mut RequestHead) {
        let path = head.path.path().to_owned();
        let query = head.path.query().unwrap_or_default();
        let is_kept = |pair: &&str| {
            let name = pair.split('=').next().unwrap_or_default();
            !self.query_remove.iter().any(|other| other == name)
                && !self.query_set.iter().any(|(other, _)| other == name)
        };
        let mut pairs: Vec<String> = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .filter(is_kept)
            .map(str::to_owned)
            .collect();
        pairs.extend(self.query_set.iter().map(|(name, value)| format!("{name}={value}")));
        let changed = if pairs.is_empty() {
            path
        } else {
            format!("{path}?{}", pairs.join("&"))
        };
        // What would be no path leaves the one that is there.
        if let Ok(changed) = changed.parse() {
            head.path = changed;
        }
    }
}

// === impl Change ===

impl Change {
    pub(super) fn apply(&self, headers: &mut HeaderMap) {
        if is_of_message(&self.name) {
            return;
        }
        let is_there = headers.contains_key(&self.name);
        match self.how {
            How::Append => {
                headers.append(&self.name, self.value.clone());
            }
            How::Join if is_there => {
                let lines = headers.get_all(&self.name).iter().map(HeaderValue::as_bytes);
                let lines: Vec<&[u8]> = lines.chain([self.value.as_bytes()]).collect();
                if let Ok(joined) = HeaderValue::from_bytes(&lines.join(&b","[..])) {
                    headers.insert(&self.name, joined);
                }
            }
            How::Join => {}
            How::AddIfAbsent if is_there => {}
            How::OverwriteIfThere if !is_there => {}
            How::AddIfAbsent | How::Overwrite | How::OverwriteIfThere => {
                headers.insert(&self.name, self.value.clone());
            }
        }
    }
}
