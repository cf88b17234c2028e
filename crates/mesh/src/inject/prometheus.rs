//! Scraping through the proxy: Prometheus finds one port per pod, the proxy answers with its own numbers and the application's.

use std::collections::BTreeMap;

use serde_json::json;

use super::paths::path;

/// Environment variable of the proxy with the application's own annotations.
pub(super) const VARIABLE: &str = "ISTIO_PROMETHEUS_ANNOTATIONS";

const SCRAPE: &str = "prometheus.io/scrape";
const PORT: &str = "prometheus.io/port";
const PATH: &str = "prometheus.io/path";
const SCHEME: &str = "prometheus.io/scheme";

/// The value of [`VARIABLE`] where the application is scraped, and the annotations of the pod changed; nothing where the pod does not
/// want to be scraped.
pub(super) fn merge(annotations: &mut BTreeMap<String, String>, status_port: u16) -> Result<Option<String>, String> {
    let value = |key: &str| annotations.get(key).map(String::as_str).unwrap_or_default();
    if value(SCRAPE) == "false" {
        return Ok(None);
    }
    if !value(PORT).is_empty() && !value(PORT).parse::<u16>().is_ok_and(|port| port > 0) {
        return Err(format!(
            "{PORT}: {:?} is not a port; use a number from 1 to 65535",
            value(PORT)
        ));
    }
    if value(PORT) == status_port.to_string() {
        return Err(format!(
            "{PORT}: {status_port} is the proxy's own port; name the application's, or set {}: \"false\"",
            super::names::MERGE_METRICS
        ));
    }
    let application = if value(SCRAPE) == "true" {
        let scheme = match value(SCHEME).to_ascii_lowercase().as_str() {
            "" | "http" => "http",
            "https" => "https",
            other => return Err(format!("{SCHEME}: {other:?} is neither http nor https")),
        };
        let path = match value(PATH) {
            "" => String::new(),
            text => path(text).map_err(|reason| format!("{PATH}: {reason}"))?,
        };
        Some(json!({"scrape": "true", "scheme": scheme, "port": value(PORT), "path": path}).to_string())
    } else {
        None
    };
    annotations.remove(SCHEME);
    annotations.insert(SCRAPE.to_owned(), "true".to_owned());
    annotations.insert(PORT.to_owned(), status_port.to_string());
    annotations.insert(PATH.to_owned(), "/stats/prometheus".to_owned());
    Ok(application)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_applications_annotations_move_to_the_proxy() {
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let mut plain = map(&[]);
        assert_eq!(merge(&mut plain, 15020), Ok(None));
        assert_eq!(plain[PORT], "15020");
        let mut scraped = map(&[(SCRAPE, "true"), (PORT, "8080"), (PATH, "/m")]);
        let application = merge(&mut scraped, 15020).unwrap().unwrap();
        assert!(application.contains(r#""port":"8080""#), "{application}");
        assert_eq!(
            (scraped[PORT].as_str(), scraped[PATH].as_str()),
            ("15020", "/stats/prometheus")
        );
        let mut sloppy = map(&[(SCRAPE, "true"), (PATH, "metrics"), (SCHEME, "HTTPS")]);
        let application = merge(&mut sloppy, 15020).unwrap().unwrap();
        for part in [r#""path":"/metrics""#, r#""scheme":"https""#] {
            assert!(application.contains(part), "{application}");
        }
        let error = merge(&mut map(&[(SCRAPE, "true"), (SCHEME, "ftp")]), 15020).unwrap_err();
        assert_eq!(error, r#"prometheus.io/scheme: "ftp" is neither http nor https"#);
        let mut off = map(&[(SCRAPE, "false")]);
        assert_eq!(merge(&mut off, 15020), Ok(None));
        assert_eq!(off.len(), 1, "a pod that is not scraped stays so");
        assert!(merge(&mut map(&[(PORT, "15020")]), 15020).is_err());
        assert!(merge(&mut map(&[(PORT, "web")]), 15020).is_err());
        assert!(merge(&mut map(&[(PORT, "0")]), 15020).is_err());
    }
}
