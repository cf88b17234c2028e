//! Entry point of `meshctl`.

fn main() {}
