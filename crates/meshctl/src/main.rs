//! Entry point of `meshctl`.

use std::process::ExitCode;

fn main() -> ExitCode {
    meshctl::run(std::env::args_os())
}
