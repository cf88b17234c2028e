//! User resources: what people write, parsed into checked types that remember where they were written.
//!
//! Knows nothing of xDS, of other objects or of sockets; `weft-pilot` resolves references between objects.

mod cel;
pub mod crd;
pub mod diagnostic;
pub mod duration;
pub mod host;
pub mod kind;
pub mod matching;
pub mod meta;
pub mod parse;
pub mod protocol;
pub mod resource;
mod rule;
mod schema;
pub mod stand_in;
pub mod suggest;

// What objects say, in a module a kind: `weft_api::virtual_service`.
pub use self::resource::*;
