//! Entry point of `weft-pilot`.

fn main() {}
