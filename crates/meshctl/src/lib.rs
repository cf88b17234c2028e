//! The command line of the mesh: starts a mesh on one machine and looks into a running one.
//!
//! Data goes to stdout, everything that is said about it to stderr. Reads proxies only through the admin pages that a
//! stock Envoy has as well.

mod exit;
pub mod mesh;
mod up;

mod app;
mod check;
mod cli;
mod cluster;
mod completion;
mod dashboard;
mod down;
mod fetch;
mod flags;
mod graph;
mod inject;
mod input;
mod install;
mod logs;
mod mesh_target;
mod output;
mod pod_port;
mod proxy_config;
mod proxy_status;
mod status;
mod told;
mod version;

pub use app::run;
