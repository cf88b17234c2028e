//! `/logging`: the log level, and whose journals are wanted beside it.

use axum::extract::{Query, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use super::{Admin, stopping};
use crate::journal::{Journals, Subject, TARGET};

/// Longest name of a listener, or header with its value, that is switched on.
const SUBJECT_BYTES_MAX: usize = 1024;

/// Envoy's levels with ours.
const LEVELS: [(&str, &str); 8] = [
    ("trace", "trace"),
    ("debug", "debug"),
    ("info", "info"),
    ("warning", "warn"),
    ("warn", "warn"),
    ("error", "error"),
    ("critical", "error"),
    ("off", "off"),
];

/// `/logging`: tells the level, `?level=LEVEL` changes it, `?paths=MODULE:LEVEL,...` or `?MODULE=LEVEL` that of modules.
/// `?listener=NAME&level=debug` and `?header=NAME:VALUE&level=debug` switch journals on, `level=off` switches them off again.
pub(super) async fn logging(State(admin): State<Admin>, uri: Uri) -> Response {
    let Some(proxy) = admin.proxy() else {
        return stopping();
    };
    let journals = proxy.journals();
    if let Some(query) = uri.query().filter(|query| !query.is_empty())
        && let Err(reason) = change(query, &uri, &admin, journals)
    {
        return (StatusCode::BAD_REQUEST, format!("{reason}\n")).into_response();
    }
    let mut page = format!("active loggers:\n  {}\n", admin.log.level());
    let subjects = journals.subjects();
    if !subjects.is_empty() {
        page.push_str("switched on:\n");
        subjects
            .iter()
            .for_each(|subject| page.push_str(&format!("  {subject} level=debug\n")));
    }
    page.into_response()
}

/// Does what a query asks for.
fn change(query: &str, uri: &Uri, admin: &Admin, journals: &Journals) -> Result<(), String> {
    let words = Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(|error| error.to_string())?;
    let Some((subject, on)) = switch(&words.0)? else {
        admin
            .log
            .change(&filter(query, &admin.log.level())?)
            .map_err(|error| error.to_string())?;
        journals.everybody(admin.log.enables(TARGET, tracing::Level::DEBUG));
        return Ok(());
    };
    journals.switch(subject, on).map_err(|full| full.to_string())?;
    // The log takes what journals say, and journals say nothing that is not asked for.
    let wanted = !journals.subjects().is_empty();
    let added = wanted.then(|| format!("{TARGET}=debug"));
    admin.log.add(added.as_deref()).map_err(|error| error.to_string())
}

/// The subject that a query switches, and whether on; `None` where it is not about one.
fn switch(words: &[(String, String)]) -> Result<Option<(Subject, bool)>, String> {
    let (mut subject, mut level) = (None, None);
    let named = words.iter().any(|(name, _)| name == "listener" || name == "header");
    if !named {
        return Ok(None);
    }
    for (name, value) in words {
        let given = match name.as_str() {
            "level" => level.replace(value).is_some(),
            "listener" | "header" => subject.replace(subject_of(name, value)?).is_some(),
            other => return Err(format!("{other:?} does not go with a listener or a header: level does")),
        };
        if given {
            return Err(format!("one listener or header and one level, but {name} comes again"));
        }
    }
    let on = match level.map(String::as_str) {
        Some("debug") => true,
        Some("off") => false,
        other => {
            let other = other.unwrap_or_default();
            return Err(format!(
                "level {other:?} of a listener or header, expected debug or off"
            ));
        }
    };
    Ok(subject.map(|subject| (subject, on)))
}

fn subject_of(kind: &str, text: &str) -> Result<Subject, String> {
    if text.is_empty() || text.len() > SUBJECT_BYTES_MAX {
        return Err(format!("{kind} has 1 to {SUBJECT_BYTES_MAX} bytes"));
    }
    if kind == "listener" {
        return Ok(Subject::Listener(text.into()));
    }
    let (name, value) = text
        .split_once(':')
        .ok_or_else(|| format!("{text:?} is not of the form header:value"))?;
    let name = HeaderName::try_from(name).map_err(|_| format!("{name:?} is no name of a header"))?;
    let value = HeaderValue::try_from(value.trim()).map_err(|_| format!("{value:?} is no value of a header"))?;
    Ok(Subject::Header(name, value))
}

/// The filter, in `RUST_LOG` syntax, that a query asks for; `current` is what there is.
fn filter(query: &str, current: &str) -> Result<String, String> {
    let level = |name: &str| {
        let found = LEVELS.iter().find(|(envoys, _)| *envoys == name);
        found.map(|(_, ours)| *ours).ok_or_else(|| {
            let names: Vec<&str> = LEVELS.iter().map(|(name, _)| *name).collect();
            format!("unknown level {name:?}, expected one of {}", names.join(", "))
        })
    };
    let mut parts: Vec<String> = current.split(',').map(str::to_owned).collect();
    let mut set = |module: &str, level: &str| {
        let prefix = format!("{module}=");
        parts.retain(|part| !part.starts_with(&prefix));
        parts.push(format!("{prefix}{level}"));
    };
    for word in query.split('&') {
        match word
            .split_once('=')
            .ok_or_else(|| format!("{word:?} is not of the form name=level"))?
        {
            ("level", name) => return level(name).map(str::to_owned),
            ("paths", list) => {
                for pair in list.split(',') {
                    let wrong = || format!("{pair:?} is not of the form module:level");
                    let (module, name) = pair.rsplit_once(':').ok_or_else(wrong)?;
                    set(module, level(name)?);
                }
            }
            (module, name) => set(module, level(name)?),
        }
    }
    Ok(parts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_envoys() {
        for (query, expected) in [
            ("level=debug", Ok("debug")),
            ("level=warning", Ok("warn")),
            (
                "paths=weft_proxy::xds:trace,h2:off",
                Ok("info,a=warn,weft_proxy::xds=trace,h2=off"),
            ),
            ("a=critical", Ok("info,a=error")),
            ("level=loud", Err("unknown level \"loud\"")),
            ("paths=a", Err("\"a\" is not of the form module:level")),
            ("level", Err("\"level\" is not of the form name=level")),
        ] {
            match (filter(query, "info,a=warn"), expected) {
                (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{query}"),
                (Err(got), Err(expected)) => assert!(got.starts_with(expected), "{got}"),
                (got, _) => panic!("{query}: {got:?}"),
            }
        }
    }

    #[test]
    fn subjects_are_switched_by_name() {
        for (query, expected) in [
            ("level=debug", Ok("-")),
            ("listener=front&level=debug", Ok("listener=front true")),
            ("listener=10.0.0.1%5F80&level=off", Ok("listener=10.0.0.1_80 false")),
            ("header=X-Debug:%20abc&level=debug", Ok("header=x-debug:abc true")),
            ("level=off&header=x-debug:a:b", Ok("header=x-debug:a:b false")),
            (
                "header=x-debug&level=debug",
                Err("\"x-debug\" is not of the form header:value"),
            ),
            (
                "header=x%20debug:a&level=debug",
                Err("\"x debug\" is no name of a header"),
            ),
            ("listener=&level=debug", Err("listener has 1 to 1024 bytes")),
            (
                "listener=front",
                Err("level \"\" of a listener or header, expected debug or off"),
            ),
            ("listener=front&level=trace", Err("level \"trace\" of a listener")),
            (
                "listener=front&header=a:b&level=debug",
                Err("one listener or header and one level, but header"),
            ),
            (
                "listener=front&paths=a:debug",
                Err("\"paths\" does not go with a listener"),
            ),
        ] {
            let uri: Uri = format!("/logging?{query}").parse().unwrap();
            let words = Query::<Vec<(String, String)>>::try_from_uri(&uri).unwrap();
            let got = switch(&words.0).map(|found| match found {
                Some((subject, on)) => format!("{subject} {on}"),
                None => "-".to_owned(),
            });
            match (got, expected) {
                (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{query}"),
                (Err(got), Err(expected)) => assert!(got.starts_with(expected), "{query}: {got}"),
                (got, _) => panic!("{query}: {got:?}"),
            }
        }
    }
}
