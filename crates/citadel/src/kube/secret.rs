//! The root in a Secret: a plugged-in authority from `cacerts` where there is one, else a self-signed root in
//! `istio-ca-secret`, made by whichever replica comes first (names and keys are Istio's).

use std::collections::BTreeMap;
use std::time::SystemTime;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use weft_base::identity::TrustDomain;
use weft_base::kubernetes::is_status;

use crate::authority::{Authority, SignError};
use crate::store::{StoreError, random_serial};

/// Secret of an authority that somebody else made.
pub(crate) const PLUGGED_IN: &str = "cacerts";

/// Secret of the root that this authority made.
pub(crate) const SELF_SIGNED: &str = "istio-ca-secret";

/// Type of the latter.
const SELF_SIGNED_TYPE: &str = "istio.io/ca-root";

/// Why there is no root.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    /// The API server refused or cannot be reached.
    #[error("cannot {verb} secret {namespace}/{name}: {error}")]
    Api {
        /// What was tried.
        verb: &'static str,
        namespace: String,
        name: &'static str,
        /// What the client says.
        error: Box<kube::Error>,
    },
    /// A key is missing.
    #[error("secret {name} has no key {key}")]
    Missing { name: &'static str, key: &'static str },
    /// What it holds is not usable.
    #[error("secret {name}: {error}")]
    Unusable { name: &'static str, error: SignError },
    /// A root cannot be made.
    #[error(transparent)]
    Make(#[from] SignError),
    /// The system has no randomness.
    #[error(transparent)]
    Random(#[from] StoreError),
}

/// Opens the authority of a namespace, and makes a root of ten years where there is none. Of several replicas that do so at
/// once one succeeds, and the others take its root.
pub(crate) async fn open(
    client: &Client,
    namespace: &str,
    trust_domain: &TrustDomain,
    now: SystemTime,
) -> Result<Authority, SecretError> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let failed = |verb, name| {
        let namespace = namespace.to_owned();
        move |error| SecretError::Api {
            verb,
            namespace,
            name,
            error: Box::new(error),
        }
    };
    let plugged_in = api.get_opt(PLUGGED_IN).await.map_err(failed("read", PLUGGED_IN))?;
    if let Some(secret) = plugged_in {
        tracing::info!(namespace, secret = PLUGGED_IN, "using the plugged-in authority");
        return plugged(&secret.data.unwrap_or_default());
    }
    if let Some(secret) = api.get_opt(SELF_SIGNED).await.map_err(failed("read", SELF_SIGNED))? {
        return self_signed(&secret.data.unwrap_or_default());
    }
    let (authority, key_pem) = Authority::self_signed(trust_domain, now, random_serial()?)?;
    let data = [
        ("ca-cert.pem", authority.root_pem().to_owned()),
        ("ca-key.pem", key_pem),
    ];
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(SELF_SIGNED.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(
            data.map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes())))
                .into(),
        ),
        type_: Some(SELF_SIGNED_TYPE.to_owned()),
        ..Secret::default()
    };
    match api.create(&PostParams::default(), &secret).await {
        Ok(_) => {
            tracing::info!(namespace, secret = SELF_SIGNED, "new root made");
            Ok(authority)
        }
        Err(error) if is_status(&error, 409) => {
            let secret = api.get(SELF_SIGNED).await.map_err(failed("read", SELF_SIGNED))?;
            tracing::info!(
                namespace,
                secret = SELF_SIGNED,
                "using the root that another replica made"
            );
            self_signed(&secret.data.unwrap_or_default())
        }
        Err(error) => Err(failed("create", SELF_SIGNED)(error)),
    }
}

type Data = BTreeMap<String, ByteString>;

fn text(data: &Data, name: &'static str, key: &'static str) -> Result<String, SecretError> {
    let bytes = data.get(key).filter(|bytes| !bytes.0.is_empty());
    let bytes = bytes.ok_or(SecretError::Missing { name, key })?;
    Ok(String::from_utf8_lossy(&bytes.0).into_owned())
}

fn self_signed(data: &Data) -> Result<Authority, SecretError> {
    let name = SELF_SIGNED;
    let (cert, key) = (text(data, name, "ca-cert.pem")?, text(data, name, "ca-key.pem")?);
    Authority::from_pem(cert, &key).map_err(|error| SecretError::Unusable { name, error })
}

/// Istio's keys, or those of a `kubernetes.io/tls` Secret as certificate managers write it.
fn plugged(data: &Data) -> Result<Authority, SecretError> {
    let name = PLUGGED_IN;
    let (cert, key, root, chain) = if data.contains_key("ca-cert.pem") {
        let chain = text(data, name, "cert-chain.pem").unwrap_or_default();
        (
            text(data, name, "ca-cert.pem")?,
            text(data, name, "ca-key.pem")?,
            text(data, name, "root-cert.pem")?,
            chain,
        )
    } else {
        let cert = text(data, name, "tls.crt")?;
        (
            cert.clone(),
            text(data, name, "tls.key")?,
            text(data, name, "ca.crt")?,
            cert,
        )
    };
    Authority::plugged_in(&cert, &key, &chain, root).map_err(|error| SecretError::Unusable { name, error })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(entries: &[(&str, &str)]) -> Data {
        let entries = entries.iter();
        entries
            .map(|(key, text)| ((*key).to_owned(), ByteString(text.as_bytes().to_vec())))
            .collect()
    }

    #[test]
    fn both_layouts_are_read_and_what_is_missing_is_named() {
        let (root, key) = Authority::self_signed(&TrustDomain::default(), SystemTime::now(), 7).unwrap();
        let pem = root.root_pem();
        let own = self_signed(&data(&[("ca-cert.pem", pem), ("ca-key.pem", &key)])).unwrap();
        assert_eq!(own.root_pem(), pem);
        for entries in [
            vec![
                ("ca-cert.pem", pem),
                ("ca-key.pem", &key),
                ("root-cert.pem", pem),
                ("cert-chain.pem", pem),
            ],
            vec![("tls.crt", pem), ("tls.key", &key), ("ca.crt", pem)],
        ] {
            let authority = plugged(&data(&entries)).unwrap();
            assert_eq!((authority.root_pem(), authority.intermediates().len()), (pem, 0));
        }
        for (entries, part) in [
            (vec![("ca-cert.pem", pem)], "no key ca-key.pem"),
            (
                vec![("ca-cert.pem", pem), ("ca-key.pem", &*key)],
                "no key root-cert.pem",
            ),
            (vec![], "no key tls.crt"),
        ] {
            let error = plugged(&data(&entries)).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
