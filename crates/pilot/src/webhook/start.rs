//! Starts the webhooks of a pilot: their settings, their certificate as it changes, and the bundles that vouch for it.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use kube::Client;
use tokio::sync::watch;
use weft_base::readiness::Readiness;
use weft_base::shutdown::Shutdown;
use weft_base::workload::IdentityWatch;
use weft_mesh::admission::Configurations;
use weft_mesh::inject::Settings;
use weft_mesh::snapshot::MeshSnapshot;

use super::{Webhooks, keep_bundle, serve, server_config};
use crate::config::Config;

/// The API server's client, the certificate of this process, and the mesh.
type Parts = (Client, IdentityWatch, watch::Receiver<Arc<MeshSnapshot>>);

/// Serves the webhooks where an address for them is configured. Not ready before there is a certificate.
pub async fn start(config: &Config, parts: Parts, readiness: &Readiness, shutdown: &Shutdown) -> Result<()> {
    let Some(listen) = config.webhook_listen else {
        return Ok(());
    };
    let (client, mut identity, snapshots) = parts;
    let mut settings = match &config.injector_settings {
        Some(path) => read_settings(path)?,
        None => Settings::default(),
    };
    settings.revision.clone_from(&config.revision);
    let (publish, tls) = watch::channel(None);
    let (publish_roots, roots) = watch::channel(None);
    serve(listen, Webhooks::new(settings, snapshots).router(), tls, shutdown).await?;
    keep_bundle(client, &Configurations::of_revision(&config.revision), roots, shutdown);
    let mut blocker = Some(readiness.block("webhook certificate"));
    let stop = shutdown.token();
    shutdown.spawn(async move {
        while let Some(Ok(())) = stop.run_until_cancelled(identity.changed()).await {
            let Some(current) = identity.borrow_and_update().clone() else {
                continue;
            };
            match server_config(&current) {
                Ok(config) => {
                    publish.send_replace(Some(config));
                    publish_roots.send_replace(Some(current.roots_pem.clone()));
                    drop(blocker.take());
                }
                Err(error) => tracing::error!(%error, "certificate is not usable for webhooks"),
            }
        }
    });
    Ok(())
}

fn read_settings(path: &Path) -> Result<Settings> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_saphyr::from_str(&text).with_context(|| format!("{} has no settings of the injector", path.display()))
}
