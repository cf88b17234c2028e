//! Entry point of `weft-proxy`.

fn main() {}
