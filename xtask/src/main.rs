//! Developer verbs: `cargo xtask --help`.

fn main() {}
