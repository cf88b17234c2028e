//! Which of the compressors of a list the client likes best (`accept-encoding`, RFC 9110, section 12.5.3), decided as Envoy does.

use crate::model::filters::compressor::Response;

/// A compressor of the list.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) encoding: &'static str,
    pub(super) response: std::sync::Arc<Response>,
}

/// What the client's header led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// This encoding, which it names.
    Named(&'static str),
    /// This one, since it takes any.
    Any(&'static str),
    /// No compression, which it names.
    Identity,
    /// Nothing that is here.
    None,
}

/// Chooses for an answer of a media type.
pub(super) fn choose(accepted: &str, media_type: Option<&str>, candidates: &[Candidate]) -> Choice {
    let mut allowed: Vec<&Candidate> = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        let fits = media_type.is_none_or(|media_type| is_listed(media_type, &candidate.response.direction.types));
        if fits && !allowed.iter().any(|known| known.encoding == candidate.encoding) {
            allowed.push(candidate);
        }
    }
    let mut wanted: Vec<(&str, f32)> = Vec::new();
    for token in accepted.split(',').filter(|token| !token.is_empty()) {
        let (name, parameters) = token.split_once(';').unwrap_or((token, ""));
        let name = name.trim();
        let quality = match parameters.split_once('=') {
            Some((key, value)) if key.trim().eq_ignore_ascii_case("q") => match value.trim().parse() {
                Ok(quality) => quality,
                Err(_) => continue,
            },
            _ => 1.0,
        };
        wanted.push((name, quality));
        if quality == 0.0 {
            allowed.retain(|candidate| candidate.encoding != name);
        }
    }
    if wanted.is_empty() || allowed.is_empty() {
        return Choice::None;
    }
    let find = |name: &str| allowed.iter().find(|candidate| candidate.encoding == name);
    let mut best = ("identity", 0.0);
    for (name, quality) in wanted {
        let known = find(name);
        let first = known.is_some_and(|candidate| candidate.response.choose_first);
        if (known.is_some() || name == "identity" || name == "*") && (quality > best.1 || (quality == best.1 && first))
        {
            best = (name, quality);
        }
    }
    match best {
        (_, 0.0) => Choice::None,
        ("identity", _) => Choice::Identity,
        ("*", _) => Choice::Any(allowed[0].encoding),
        (name, _) => find(name).map_or(Choice::None, |candidate| Choice::Named(candidate.encoding)),
    }
}

/// Whether a media type is among these, which are lower case.
pub(super) fn is_listed(media_type: &str, types: &[Box<str>]) -> bool {
    types.iter().any(|listed| media_type.eq_ignore_ascii_case(listed))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::filters::compressor::Direction;

    fn candidate(encoding: &'static str, types: &[&str], choose_first: bool) -> Candidate {
        Candidate {
            encoding,
            response: Arc::new(Response {
                direction: Direction {
                    enabled: true,
                    length_min: 30,
                    types: types.iter().map(|name| Box::from(*name)).collect(),
                },
                named: true,
                not_with_etag: false,
                weaken_etag: false,
                remove_accept_encoding: false,
                codes_left: Vec::new(),
                choose_first,
            }),
        }
    }

    #[test]
    fn the_client_chooses() {
        let list = [
            candidate("gzip", &["text/html"], false),
            candidate("br", &["text/html"], true),
            candidate("zstd", &["text/css"], false),
        ];
        for (accepted, media_type, expected) in [
            ("gzip", Some("text/html"), Choice::Named("gzip")),
            ("gzip, br", Some("text/html"), Choice::Named("br")),
            ("gzip;q=0.9, br;q=0.8", Some("text/html"), Choice::Named("gzip")),
            ("zstd", Some("text/html"), Choice::None),
            ("zstd", Some("text/css"), Choice::Named("zstd")),
            ("zstd", None, Choice::Named("zstd")),
            ("*", Some("text/html"), Choice::Any("gzip")),
            ("gzip;q=0, *", Some("text/html"), Choice::Any("br")),
            ("identity", Some("text/html"), Choice::Identity),
            ("identity;q=0.5, gzip;q=0.4", Some("text/html"), Choice::Identity),
            ("gzip;q=x", Some("text/html"), Choice::None),
            ("deflate", Some("text/html"), Choice::None),
            ("", Some("text/html"), Choice::None),
            ("gzip", Some("image/png"), Choice::None),
        ] {
            assert_eq!(
                choose(accepted, media_type, &list),
                expected,
                "{accepted} {media_type:?}"
            );
        }
    }
}
