//! Certificates that are right, and nearly right, made by the `openssl` command.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::process;

/// What a client of the listener must be called.
const WANTED: &str = "spiffe://test/ns/a/sa/b";

/// What `openssl ca` wants to be told before it gives a certificate other times than from now on.
const AUTHORITY: &str = "[ca]\ndefault_ca=here\n[here]\ndatabase=index.txt\nnew_certs_dir=.\ndefault_md=sha256\nserial=serial\n\
    policy=any\n[any]\nO=optional\n";

/// A certificate's file name without its ending, its issuer, its extensions, and from when to when it is valid unless that is from now on.
type Leaf = (
    &'static str,
    &'static str,
    &'static str,
    Option<(&'static str, &'static str)>,
);

#[rustfmt::skip]
const LEAVES: &[Leaf] = &[
    ("server", "root", "subjectAltName=DNS:e", None),
    ("right", "root", "subjectAltName=URI:spiffe://test/ns/a/sa/b", None),
    ("other-account", "root", "subjectAltName=URI:spiffe://test/ns/a/sa/c", None),
    ("longer", "root", "subjectAltName=URI:spiffe://test/ns/a/sa/bb", None),
    ("behind", "root", "subjectAltName=URI:xspiffe://test/ns/a/sa/b", None),
    ("dot", "root", "subjectAltName=URI:spiffe://test/ns/a/sa/.", None),
    ("upper", "root", "subjectAltName=URI:spiffe://TEST/ns/A/sa/B", None),
    ("slash", "root", "subjectAltName=URI:spiffe://test/ns/a/sa/b/", None),
    ("other-domain", "root", "subjectAltName=URI:spiffe://tests/ns/a/sa/b", None),
    ("dns", "root", "subjectAltName=DNS:spiffe.test", None),
    ("mail", "root", "subjectAltName=email:a@spiffe.test", None),
    ("common-name", "root", "extendedKeyUsage=clientAuth", None),
    ("no-name", "root", "keyUsage=digitalSignature", None),
    ("second-name", "root", "subjectAltName=URI:spiffe://test/ns/a/sa/c,URI:spiffe://test/ns/a/sa/b", None),
    ("other-root", "stranger", "subjectAltName=URI:spiffe://test/ns/a/sa/b", None),
    ("expired", "root", "subjectAltName=URI:spiffe://test/ns/a/sa/b", Some(("20200101000000Z", "20200102000000Z"))),
    ("early", "root", "subjectAltName=URI:spiffe://test/ns/a/sa/b", Some(("20900101000000Z", "20900102000000Z"))),
    ("server-only", "root", "extendedKeyUsage=serverAuth\nsubjectAltName=URI:spiffe://test/ns/a/sa/b", None),
    ("no-authority", "right", "subjectAltName=URI:spiffe://test/ns/a/sa/b", None),
];

/// Writes all of them.
pub(super) fn write(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir)?;
    let openssl = |arguments: &[&str]| process::output(Command::new("openssl").args(arguments).current_dir(dir));
    let new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    std::fs::write(dir.join("ca.cnf"), AUTHORITY)?;
    std::fs::write(dir.join("index.txt"), "")?;
    for (name, more) in [
        ("root", [].as_slice()),
        ("stranger", &[]),
        (
            "self-signed",
            &["-addext", "subjectAltName=URI:spiffe://test/ns/a/sa/b"],
        ),
    ] {
        let (key, chain) = (format!("{name}.key"), format!("{name}.pem"));
        let request = [
            "req", "-x509", "-days", "2", "-subj", "/O=test", "-keyout", &key, "-out", &chain,
        ];
        openssl(&[&request[..], &new_key, more].concat())
            .context("openssl is needed (Debian: apt-get install openssl)")?;
    }
    for (name, issuer, extensions, validity) in LEAVES {
        let [key, chain, request, file] = ["key", "pem", "csr", "ext"].map(|ending| format!("{name}.{ending}"));
        std::fs::write(dir.join(&file), extensions)?;
        let subject = if *name == "common-name" {
            format!("/CN={}", WANTED.replace('/', "\\/"))
        } else {
            format!("/O={name}")
        };
        openssl(
            &[
                &["req", "-subj", &subject, "-keyout", &key, "-out", &request][..],
                &new_key,
            ]
            .concat(),
        )?;
        let (issuer_chain, issuer_key) = (format!("{issuer}.pem"), format!("{issuer}.key"));
        let common = ["-in", &request, "-extfile", &file, "-out", &chain];
        if let Some((from, to)) = validity {
            let issuer = [
                "-cert",
                &issuer_chain,
                "-keyfile",
                &issuer_key,
                "-startdate",
                from,
                "-enddate",
                to,
            ];
            openssl(
                &[
                    &["ca", "-batch", "-notext", "-rand_serial", "-config", "ca.cnf"][..],
                    &issuer,
                    &common,
                ]
                .concat(),
            )?;
        } else {
            let issuer = [
                "-CA",
                &issuer_chain,
                "-CAkey",
                &issuer_key,
                "-CAcreateserial",
                "-days",
                "2",
            ];
            openssl(&[&["x509", "-req"][..], &issuer, &common].concat())?;
        }
    }
    Ok(())
}

/// The server's side: a certificate of the root for clients of one name.
pub(super) fn transport_socket(dir: &Path) -> Value {
    let file = |name: &str| json!({"filename": dir.join(name).display().to_string()});
    let names = json!([{"san_type": "URI", "matcher": {"exact": WANTED}}]);
    json!({"name": "envoy.transport_sockets.tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": true,
        "common_tls_context": {
            "alpn_protocols": ["http/1.1"],
            "tls_certificates": [{"certificate_chain": file("server.pem"), "private_key": file("server.key")}],
            "validation_context": {"trusted_ca": file("root.pem"), "match_typed_subject_alt_names": names},
        },
    }})
}
