//! Certificates of the mTLS pair, made by the `openssl` command: one root, one leaf a side, ECDSA P-256, SPIFFE names.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::case::HOST;
use crate::process;

/// The root certificate's file.
pub(super) const ROOT: &str = "root.pem";
const ROOT_KEY: &str = "root.key";
/// Longer than any run.
const DAYS: &str = "2";

/// A side of the pair.
#[derive(Clone, Copy, Debug)]
pub(super) enum Identity {
    Client,
    Server,
}

// === impl Identity ===

impl Identity {
    fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }

    /// The URI name in the certificate.
    pub(super) fn spiffe_id(self) -> String {
        format!("spiffe://cluster.local/ns/default/sa/{}", self.name())
    }

    /// The certificate's file.
    pub(super) fn chain(self) -> String {
        format!("{}.pem", self.name())
    }

    /// The private key's file.
    pub(super) fn key(self) -> String {
        format!("{}.key", self.name())
    }

    /// Key and certificate in one file, as HAProxy wants them.
    pub(super) fn bundle(self) -> String {
        format!("{}-bundle.pem", self.name())
    }
}

/// Writes all files into a folder.
pub(super) fn write(dir: &Path) -> Result<()> {
    let openssl = |arguments: &[&str]| process::output(Command::new("openssl").args(arguments).current_dir(dir));
    let new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let root = [
        "req",
        "-x509",
        "-days",
        DAYS,
        "-subj",
        "/O=cluster.local",
        "-keyout",
        ROOT_KEY,
        "-out",
        ROOT,
    ];
    openssl(&[&root[..], &new_key].concat())?;
    for identity in [Identity::Client, Identity::Server] {
        let (chain, key, request) = (identity.chain(), identity.key(), format!("{}.csr", identity.name()));
        openssl(
            &[
                &["req", "-subj", "/O=cluster.local", "-keyout", &key, "-out", &request][..],
                &new_key,
            ]
            .concat(),
        )?;
        let extensions = format!("{}.ext", identity.name());
        // nginx and HAProxy check DNS names, Weft and Envoy the URI.
        let lines = format!(
            "subjectAltName=critical,URI:{},DNS:{HOST}\nkeyUsage=critical,digitalSignature,keyEncipherment\n\
             extendedKeyUsage=serverAuth,clientAuth\n\
             basicConstraints=critical,CA:FALSE\n",
            identity.spiffe_id()
        );
        std::fs::write(dir.join(&extensions), lines)?;
        let sign = [
            "x509",
            "-req",
            "-days",
            DAYS,
            "-CA",
            ROOT,
            "-CAkey",
            ROOT_KEY,
            "-CAcreateserial",
        ];
        openssl(&[&sign[..], &["-in", &request, "-out", &chain, "-extfile", &extensions]].concat())?;
        let both = [std::fs::read(dir.join(chain))?, std::fs::read(dir.join(key))?].concat();
        std::fs::write(dir.join(identity.bundle()), both)?;
    }
    Ok(())
}
