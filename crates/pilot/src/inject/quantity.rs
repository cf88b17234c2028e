//! Kubernetes quantities, checked as far as resources of a container need it.
//!
//! Kubernetes, `k8s.io/apimachinery/pkg/api/resource`: a decimal number, then a suffix.

/// A quantity of processors, such as `100m` or `2`.
pub(super) fn cpu(text: &str) -> Result<String, String> {
    check(text, &["", "m", "k"], "100m or 2")
}

/// A quantity of memory in bytes, such as `128Mi` or `1G`.
pub(super) fn memory(text: &str) -> Result<String, String> {
    check(text, &["", "Ki", "Mi", "Gi", "Ti", "k", "M", "G", "T"], "128Mi or 1Gi")
}

fn check(text: &str, suffixes: &[&str], example: &str) -> Result<String, String> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let fits = number.starts_with(|c: char| c.is_ascii_digit())
        && number.len() <= 18
        && number.parse::<f64>().is_ok()
        && suffixes.contains(&suffix);
    fits.then(|| text.to_owned())
        .ok_or_else(|| format!("{text:?} is not a quantity such as {example}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        for (text, as_cpu, as_memory) in [
            ("100m", true, false),
            ("2", true, true),
            ("0.5", true, true),
            ("128Mi", false, true),
            ("1G", false, true),
            ("", false, false),
            (".5", false, false),
            ("1.2.3", false, false),
            ("1 Gi", false, false),
            ("-1", false, false),
            ("1e3", false, false),
        ] {
            assert_eq!(cpu(text).is_ok(), as_cpu, "{text}");
            assert_eq!(memory(text).is_ok(), as_memory, "{text}");
        }
    }
}
