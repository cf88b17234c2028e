//! `$(NAME)` in commands and environment, as Kubernetes has it, except that an unknown name is an error.

use std::collections::BTreeMap;

/// Why a text cannot be filled in.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SubstituteError {
    /// No variable has that name.
    #[error("$({name}) is not known here; known are {known}; write $$({name}) for the text itself")]
    Unknown {
        /// The name in the brackets.
        name: String,
        /// What could have been meant.
        known: String,
    },
}

/// Replaces every `$(NAME)` by its value. `$$(NAME)` gives the text `$(NAME)`; a `$` before anything else is itself.
pub(crate) fn substitute(text: &str, variables: &BTreeMap<String, String>) -> Result<String, SubstituteError> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        filled.push_str(&rest[..at]);
        rest = &rest[at..];
        let reference = rest.strip_prefix("$(").and_then(|inner| inner.split_once(')'));
        if let Some(escaped) = rest.strip_prefix("$$") {
            filled.push('$');
            // The second `$` is used up; what follows is plain text even if it looks like a reference.
            let plain = if escaped.starts_with('(') {
                escaped.find(')').map_or(0, |end| end + 1)
            } else {
                0
            };
            filled.push_str(&escaped[..plain]);
            rest = &escaped[plain..];
        } else if let Some((name, after)) = reference {
            let value = variables.get(name).ok_or_else(|| SubstituteError::Unknown {
                name: name.to_owned(),
                known: variables.keys().cloned().collect::<Vec<_>>().join(", "),
            })?;
            filled.push_str(value);
            rest = after;
        } else {
            filled.push('$');
            rest = &rest[1..];
        }
    }
    filled.push_str(rest);
    Ok(filled)
}

/// The variable that carries the port of that name: `http-alt` is `PORT_HTTP_ALT`.
pub(crate) fn port_variable(name: &str) -> String {
    format!("PORT_{}", name.to_ascii_uppercase().replace(['-', '.'], "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_replaced() {
        let variables = BTreeMap::from([
            ("PORT_HTTP".to_owned(), "8080".to_owned()),
            ("EMPTY".to_owned(), String::new()),
        ]);
        #[track_caller]
        fn check(variables: &BTreeMap<String, String>, text: &str, expected: Result<&str, &str>) {
            let filled = substitute(text, variables).map_err(|error| error.to_string());
            assert_eq!(filled.as_deref().map_err(String::as_str), expected, "{text}");
        }
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("$(PORT_HTTP)", "8080"),
            ("--listen=127.0.0.1:$(PORT_HTTP)/x", "--listen=127.0.0.1:8080/x"),
            ("$(PORT_HTTP)$(PORT_HTTP)$(EMPTY)", "80808080"),
            ("$$(PORT_HTTP)", "$(PORT_HTTP)"),
            ("$$(UNKNOWN) $$ $", "$(UNKNOWN) $ $"),
            ("$HOME ${HOME} $(", "$HOME ${HOME} $("),
            ("ü$(PORT_HTTP)ü", "ü8080ü"),
        ] {
            check(&variables, text, Ok(expected));
        }
        let unknown =
            "$(PORT_HTP) is not known here; known are EMPTY, PORT_HTTP; write $$(PORT_HTP) for the text itself";
        check(&variables, "a$(PORT_HTP)", Err(unknown));
    }

    #[test]
    fn port_names_become_variables() {
        assert_eq!(port_variable("http"), "PORT_HTTP");
        assert_eq!(port_variable("grpc-web.v1"), "PORT_GRPC_WEB_V1");
    }
}
