//! The table of secrets: certificates and trusted roots with their times.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x509_parser::prelude::{FromDer, Pem, X509Certificate};

use crate::output::Table;
use crate::proxy_config::dump::{DumpedSecret, text};

/// What is known about the first certificate of a secret.
struct Certificate {
    serial: String,
    not_after: OffsetDateTime,
    not_before: OffsetDateTime,
}

/// Istio's columns; a certificate is valid if its time includes `now`.
pub(crate) fn table(secrets: &[DumpedSecret<'_>], now: OffsetDateTime) -> String {
    let mut table = Table::new(&[
        "RESOURCE NAME",
        "TYPE",
        "STATUS",
        "VALID CERT",
        "SERIAL NUMBER",
        "NOT AFTER",
        "NOT BEFORE",
    ]);
    for secret in secrets {
        let (kind, data) = content(secret.secret);
        let certificate = data.and_then(|data| certificate(&data));
        let valid = certificate
            .as_ref()
            .is_some_and(|found| found.not_before <= now && now <= found.not_after);
        let (serial, not_after, not_before) = certificate.map_or_else(
            || ("-".to_owned(), "-".to_owned(), "-".to_owned()),
            |found| (found.serial, moment(found.not_after), moment(found.not_before)),
        );
        table.row([
            secret.name.to_owned(),
            kind.to_owned(),
            secret.status.to_owned(),
            valid.to_string(),
            serial,
            not_after,
            not_before,
        ]);
    }
    table.sort();
    table.render()
}

/// Kind and PEM text of a secret (extensions.transport_sockets.tls.v3.Secret).
fn content(secret: &Value) -> (&'static str, Option<Vec<u8>>) {
    if let Some(certificate) = secret.get("tls_certificate") {
        return ("Cert Chain", certificate.get("certificate_chain").and_then(data));
    }
    if let Some(validation) = secret.get("validation_context") {
        return ("CA", validation.get("trusted_ca").and_then(data));
    }
    if secret.get("generic_secret").is_some() {
        return ("Generic", None);
    }
    ("Unknown", None)
}

/// A `core.v3.DataSource`; bytes are in Base64 in JSON.
fn data(source: &Value) -> Option<Vec<u8>> {
    if let Some(bytes) = text(source, "inline_bytes") {
        return STANDARD.decode(bytes).ok();
    }
    if let Some(inline) = text(source, "inline_string") {
        return Some(inline.as_bytes().to_vec());
    }
    std::fs::read(text(source, "filename")?).ok()
}

fn certificate(pem: &[u8]) -> Option<Certificate> {
    let pem = Pem::iter_from_buffer(pem).find_map(Result::ok)?;
    let (_, parsed) = X509Certificate::from_der(&pem.contents).ok()?;
    let validity = parsed.validity();
    Some(Certificate {
        serial: parsed.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect(),
        not_after: validity.not_after.to_datetime(),
        not_before: validity.not_before.to_datetime(),
    })
}

fn moment(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_else(|_| "-".to_owned())
}
