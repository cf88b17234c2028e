//! Entry point of `weft-citadel`.

fn main() {}
