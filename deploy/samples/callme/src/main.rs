//! Sample application.

fn main() {}
