//! Who a discovery client is: by its certificate, or by the token of its service account.

use tonic::{Request as Call, Status};
use weft_base::grpc_tls::Peer;
use weft_base::kubernetes::token::{ReviewError, TokenReviewer};

/// How clients prove who they are.
#[derive(Clone, Debug)]
pub enum Identities {
    /// They need not.
    Unproven,
    /// By a client certificate, else by a service-account token where somebody can check it.
    Proven(Option<Box<TokenReviewer>>),
}

// === impl Identities ===

impl Identities {
    /// The client of a call, by its certificate or token.
    pub(super) async fn peer<I>(&self, call: &Call<I>) -> Result<Option<Peer>, Status> {
        let peer = call.extensions().get::<Peer>().cloned();
        let Self::Proven(reviewer) = self else {
            return Ok(peer);
        };
        if peer.as_ref().is_some_and(|peer| peer.identity.is_some()) {
            return Ok(peer);
        }
        let (Some(mut peer), Some(reviewer)) = (peer, reviewer) else {
            return Err(Status::unauthenticated("show a client certificate of the mesh"));
        };
        let header = call
            .metadata()
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        let Some(token) = header.and_then(|header| header.strip_prefix("Bearer ")) else {
            let hint = "show a client certificate of the mesh, or send `authorization: Bearer <service-account token>`";
            return Err(Status::unauthenticated(hint));
        };
        let identity = reviewer.review(token.trim()).await.map_err(|error| {
            tracing::warn!(peer = %peer.addr, %error, "discovery client refused");
            match error {
                ReviewError::Unavailable(_) => Status::unavailable(error.to_string()),
                ReviewError::Refused(_)
                | ReviewError::Audience
                | ReviewError::NotServiceAccount(_)
                | ReviewError::Identity(_) => Status::unauthenticated(error.to_string()),
            }
        })?;
        peer.identity = Some(identity);
        Ok(Some(peer))
    }
}
