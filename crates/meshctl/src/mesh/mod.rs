//! What is known on disk about a mesh that runs on this machine: where its state lies, its record, its processes' identity.
//!
//! Every verb but `up` learns about a mesh only from here.

pub mod process;
pub mod record;
pub mod state;

pub use record::Record;
pub use state::StateDir;
