//! The rules of the control plane, as functions of their arguments: objects in; one snapshot of the mesh, findings, xDS resources and
//! injected pods out.
//!
//! No server, no sockets, no client of a cluster, no tasks, no clock: pilot has those, and whoever else asks what would come of some
//! objects uses the same functions.

pub mod admission;
pub mod generate;
pub mod inject;
pub mod node;
pub mod resource;
pub mod settle;
pub mod snapshot;
pub mod view;
