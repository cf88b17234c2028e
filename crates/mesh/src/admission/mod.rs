//! Admission: what the API server asks before it stores an object, and what it is answered.

mod configurations;
mod review;
mod validate;

pub use self::configurations::{Configurations, VALIDATION};
pub use self::review::{Answer, Review};
pub use self::validate::validate;
