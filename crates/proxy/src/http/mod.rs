//! Serving HTTP: from a connection to requests, from a request to an answer. Follow `serve`, then `request`, then `forward`.

pub mod attempt;
pub mod blame;
pub mod body;
pub mod connection;
pub mod context;
pub mod deliver;
pub mod exchange;
pub mod forward;
pub mod headers;
pub mod message;
pub mod normal_form;
pub mod normalise;
pub mod own_answers;
pub mod pause;
pub mod received;
pub mod reply;
pub mod request;
pub mod respond;
mod routed;
pub mod send;
pub mod serve;
pub mod serve_http1;
pub mod serve_http2;
pub mod timeouts;
pub mod tunnel;
pub mod upgrade;
pub mod upstream_body;
