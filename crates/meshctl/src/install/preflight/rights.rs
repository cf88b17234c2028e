//! What the user must be allowed to do: to write every kind that an installation applies.

use futures_util::future::try_join_all;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::Client;
use kube::api::{Api, PostParams};

use super::{Finding, Mark};
use crate::cluster::{Installed, KINDS};

const CATEGORY: &str = "rights";

/// Server-side apply patches, and creates what is not there.
const VERBS: [&str; 2] = ["create", "patch"];

/// One question for each kind and verb.
pub(super) async fn findings(client: &Client, namespace: &str) -> anyhow::Result<Vec<Finding>> {
    // Leases are made by the control plane itself.
    let kinds: Vec<&Installed> = KINDS.iter().filter(|kind| kind.kind != "Lease").collect();
    let mut lacking = Vec::new();
    for verb in VERBS {
        let asked = kinds.iter().map(|kind| may(client, verb, kind, namespace));
        let answers = try_join_all(asked).await?;
        let refused = kinds.iter().zip(answers).filter(|(_, allowed)| !allowed);
        let refused: Vec<&str> = refused.map(|(kind, _)| kind.plural).collect();
        if !refused.is_empty() {
            lacking.push(format!("{verb} {}", refused.join(", ")));
        }
    }
    if lacking.is_empty() {
        let text = "you may create and change everything that is needed";
        return Ok(vec![Finding::new(CATEGORY, Mark::Good, text, "")]);
    }
    let text = format!("you may not {}", lacking.join(" or "));
    let hint = "ask for the role cluster-admin, or use another context";
    Ok(vec![Finding::new(CATEGORY, Mark::Bad, text, hint)])
}

async fn may(client: &Client, verb: &str, kind: &Installed, namespace: &str) -> anyhow::Result<bool> {
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                verb: Some(verb.to_owned()),
                group: Some(kind.group.to_owned()),
                resource: Some(kind.plural.to_owned()),
                namespace: kind.namespaced.then(|| namespace.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let answer = api.create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}
