//! Entry point of `weft-telemetry`.

fn main() {}
