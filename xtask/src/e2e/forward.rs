//! A program that forwards a port of this machine and says which: `kubectl proxy`, `meshctl dashboard`.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::Background;
use crate::workspace;

const LIMIT: Duration = Duration::from_secs(20);

/// It runs as long as this value.
#[derive(Debug)]
pub(crate) struct Forward {
    process: Background,
    address: SocketAddr,
}

// === impl Forward ===

impl Forward {
    /// Starts it, and waits until it has said its address.
    pub(crate) fn start(name: &str, command: &mut Command) -> Result<Self> {
        let log = workspace::target().join(format!("e2e-{name}.log"));
        let mut process = Background::start(name, command, log.clone())?;
        let said = || address(&std::fs::read_to_string(&log).ok()?);
        process.wait_until(LIMIT, || said().is_some())?;
        let address = said().with_context(|| format!("{name} said no address"))?;
        Ok(Self { process, address })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it in an orderly way.
    pub(crate) fn stop(mut self) {
        self.process.stop(LIMIT);
    }
}

/// The first address with a port in a text; a line may not be whole yet.
fn address(text: &str) -> Option<SocketAddr> {
    let (lines, _) = text.rsplit_once('\n')?;
    let mut words = lines.split(|c: char| c.is_whitespace() || c == '/');
    words.find_map(|word| word.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_address_of_whole_lines_is_taken() {
        let found = |text| address(text).map(|address: SocketAddr| address.port());
        assert_eq!(found("Starting to serve on 127.0.0.1:4321\n"), Some(4321));
        assert_eq!(
            found("at http://127.0.0.1:4321/ now\nmore http://127.0.0.1:1/\n"),
            Some(4321)
        );
        assert_eq!(found("Starting to serve on 127.0.0.1:43"), None);
        assert_eq!(found(""), None);
    }
}
