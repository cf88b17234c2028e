//! `/certs` (`envoy.admin.v3.Certificates`): every certificate and trust bundle that was delivered, and how long it holds.

use axum::Json;
use axum::extract::State;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::DumpSource;
use crate::model::secret::{DataSource, Secret};
use crate::model::tls::SanKind;
use crate::tls::names;

pub(super) async fn certs(State(dump): State<DumpSource>) -> Json<Value> {
    let now = OffsetDateTime::now_utc();
    let mut certificates = Vec::new();
    for (name, secret) in dump.secrets.delivered_now() {
        let entry = match secret {
            Secret::Certificate { chain, .. } => json!({"cert_chain": details(&name, &chain, now)}),
            Secret::Validation { roots } => json!({"ca_cert": details(&name, &roots, now)}),
        };
        certificates.push(entry);
    }
    Json(json!({"certificates": certificates}))
}

/// The certificates of a PEM bundle; one that cannot be read is named with the reason.
fn details(name: &str, source: &DataSource, now: OffsetDateTime) -> Vec<Value> {
    let (path, pem) = match source {
        DataSource::Inline(bytes) => (format!("<inline: {name}>"), Ok(bytes.to_vec())),
        DataSource::File(path) => (path.display().to_string(), std::fs::read(path)),
    };
    let pem = match pem {
        Ok(pem) => pem,
        Err(error) => return vec![json!({"path": path, "error": error.to_string()})],
    };
    let found = CertificateDer::pem_slice_iter(&pem).map(|certificate| match certificate {
        Ok(der) => one(&path, &der, now),
        Err(error) => json!({"path": path, "error": error.to_string()}),
    });
    found.collect()
}

fn one(path: &str, der: &CertificateDer<'_>, now: OffsetDateTime) -> Value {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return json!({"path": path, "error": "is not an X.509 certificate"});
    };
    let (from, until) = (certificate.validity().not_before, certificate.validity().not_after);
    let (from, until) = (from.to_datetime(), until.to_datetime());
    let text = |at: OffsetDateTime| at.format(&Rfc3339).unwrap_or_default();
    let sans = names::subject_alt_names(der).unwrap_or_default();
    let sans: Vec<Value> = sans
        .iter()
        .map(|san| match san.kind {
            SanKind::Uri => json!({"uri": *san.text}),
            SanKind::Dns => json!({"dns": *san.text}),
            SanKind::Ip => json!({"ip_address": *san.text}),
            SanKind::Email => json!({"email": *san.text}),
        })
        .collect();
    let days = (until - now).whole_days().max(0);
    json!({
        "path": path,
        "serial_number": certificate.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
        "subject_alt_names": sans,
        "days_until_expiration": days.to_string(),
        "valid_from": text(from),
        "expiration_time": text(until),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_described() {
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        let source = DataSource::Inline(made.cert.pem().into_bytes().into());
        let now = OffsetDateTime::from_unix_timestamp(4_000_000_000).unwrap();
        let found = details("default", &source, now);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0]["path"], "<inline: default>");
        assert_eq!(found[0]["subject_alt_names"], json!([{"dns": "a.example"}]));
        assert!(
            found[0]["days_until_expiration"]
                .as_str()
                .unwrap()
                .parse::<u64>()
                .unwrap()
                > 0
        );
        let missing = details("x", &DataSource::File("/does/not/exist".into()), now);
        assert!(
            missing[0]["error"].as_str().unwrap().contains("No such file"),
            "{missing:?}"
        );
    }
}
