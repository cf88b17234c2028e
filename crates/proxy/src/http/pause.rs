//! The pause between two attempts.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::body::Progress;
use crate::error::ErrorKind;
use crate::pool::request_body::RequestBody;
use crate::upstream::cluster::Cluster;

/// How long another endpoint is waited for: Envoy's longest pause where a policy names none (`RetryPolicy.retry_back_off`).
const SUCCESSOR_WAIT: Duration = Duration::from_millis(250);

/// The pause before the next attempt, with an ear for the client: a request whose body has broken by its end is not sent again.
///
/// # Errors
/// The body has broken.
pub async fn between_attempts(
    cluster: &Cluster,
    absent: &[u64],
    backoff: Duration,
    body: &RequestBody,
    progress: &Progress,
) -> Result<(), ErrorKind> {
    let heard = body.between(before_retry(cluster, absent, backoff)).await;
    // Where a filter refuses the body nothing is the client's fault, and the refusal is answered whatever stands here.
    heard.map_err(|_| {
        progress
            .fault
            .get()
            .map_or(ErrorKind::ConnectionTerminated, ErrorKind::from)
    })
}

/// Waits before the next attempt. Where the endpoints that were not there, `absent`, are all that the cluster has, another is waited
/// for: an application that ends closes its port at about the time at which discovery tells its successor.
async fn before_retry(cluster: &Cluster, absent: &[u64], backoff: Duration) {
    if absent.is_empty() || !cluster.is_exhausted(absent) {
        return sleep(backoff).await;
    }
    // With or without another, the next attempt is made.
    let _ = timeout(backoff.max(SUCCESSOR_WAIT), cluster.other_than(absent)).await;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::Instant;
    use weft_base::shutdown::Shutdown;
    use weft_proto::xds::envoy::config::cluster::v3::{self as pb, cluster as inner};

    use super::*;
    use crate::model::cluster::{Discovery, Endpoint, EndpointAddress, Health, LoadAssignment, LocalityEndpoints};
    use crate::model::convert;
    use crate::secrets::SecretStore;

    const BACKOFF: Duration = Duration::from_millis(20);

    /// Milliseconds that the pause takes in a cluster with an endpoint at port 1, where discovery tells `later` after 70 ms.
    async fn pause(discovery: Discovery, absent: bool, ports: &[u16], later: &[u16]) -> u128 {
        let cluster = cluster(discovery);
        cluster.update(assignment(ports));
        let first = cluster.endpoints().endpoints[0].state.id;
        let absent: Vec<u64> = absent.then_some(first).into_iter().collect();
        let started = Instant::now();
        let pause = before_retry(&cluster, &absent, BACKOFF);
        let discovery = async {
            sleep(Duration::from_millis(70)).await;
            cluster.update(assignment(later));
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = pause => started.elapsed().as_millis(),
            () = discovery => unreachable!("discovery does not end"),
        }
    }

    fn cluster(discovery: Discovery) -> Arc<Cluster> {
        let source = pb::Cluster {
            name: "c".to_owned(),
            cluster_discovery_type: Some(inner::ClusterDiscoveryType::Type(
                inner::DiscoveryType::OriginalDst as i32,
            )),
            lb_policy: inner::LbPolicy::ClusterProvided as i32,
            ..pb::Cluster::default()
        };
        let mut model = convert::cluster(&source, &convert::Path::default()).unwrap();
        model.discovery = discovery;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        Cluster::new(Arc::new(model), None, &provider, &SecretStore::new(&Shutdown::new()))
    }

    fn assignment(ports: &[u16]) -> Arc<LoadAssignment> {
        let endpoint = |port: &u16| Endpoint {
            address: EndpointAddress::Socket(([127, 0, 0, 1], *port).into()),
            hostname: Arc::from(""),
            weight: 1,
            health: Health::Healthy,
            transport_labels: Vec::new(),
            workload: None,
        };
        let locality = LocalityEndpoints {
            endpoints: ports.iter().map(endpoint).collect(),
            ..LocalityEndpoints::default()
        };
        Arc::new(LoadAssignment {
            name: Arc::from("c"),
            localities: vec![locality],
            overprovisioning_percent: 140,
        })
    }

    #[tokio::test(start_paused = true)]
    async fn the_only_endpoints_successor_is_waited_for() {
        let eds = || Discovery::Eds(Arc::from("c"));
        let rows = [
            ("a successor comes", eds(), true, &[1][..], &[1, 2][..], 70),
            ("and the first has gone", eds(), true, &[1], &[2], 70),
            ("none comes", eds(), true, &[1], &[1], 250),
            ("all go", eds(), true, &[1], &[], 250),
            ("there is another", eds(), true, &[1, 2], &[2], 20),
            ("it was there", eds(), false, &[1], &[2], 20),
            (
                "discovery brings none",
                Discovery::Static(LoadAssignment::default()),
                true,
                &[1],
                &[2],
                20,
            ),
        ];
        for (name, discovery, absent, ports, later, expected) in rows {
            assert_eq!(pause(discovery, absent, ports, later).await, expected, "{name}");
        }
    }
}
