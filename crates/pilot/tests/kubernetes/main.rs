//! The Kubernetes side against a scripted API server: watches, elections, statuses.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod election;
mod kinds;
mod server;
mod statuses;
mod watches;
