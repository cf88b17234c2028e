//! The live table on stderr: redrawn in place on a terminal, one line a time elsewhere.

use std::io::IsTerminal;

use super::tally::Tally;

/// Lines of the table.
const LINES: usize = 6;

/// What has been drawn.
#[derive(Debug)]
pub(super) struct Table {
    terminal: bool,
    drawn: bool,
}

// === impl Table ===

impl Table {
    pub(super) fn new() -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
            drawn: false,
        }
    }

    /// Shows the counts so far; `recent` are those of the last second.
    pub(super) fn draw(&mut self, total: &Tally, recent: &Tally, mtls_share: Option<f64>) {
        let mtls = mtls_share.map_or_else(|| "-".to_owned(), |share| format!("{:.1}%", share * 100.0));
        let v2 = total.v2_percent();
        if !self.terminal {
            eprintln!(
                "demo: {} requests, {}/s, v1 {:.1}%, v2 {v2:.1}%, errors {}, retries {}, mTLS {mtls}, p50 {:.1} ms, p99 {:.1} ms",
                total.requests,
                recent.requests,
                100.0 - v2,
                total.client_errors,
                total.retries,
                recent.percentile_ms(50),
                recent.percentile_ms(99),
            );
            return;
        }
        if self.drawn {
            eprint!("\x1b[{LINES}A");
        }
        self.drawn = true;
        let rows = [
            ("requests", format!("{} ({}/s)", total.requests, recent.requests)),
            ("v1 / v2", format!("{:.1}% / {v2:.1}%", 100.0 - v2)),
            ("errors seen by the client", total.client_errors.to_string()),
            ("retries that hid a failure", total.retries.to_string()),
            ("mutual TLS", mtls),
            (
                "p50 / p99",
                format!("{:.1} / {:.1} ms", recent.percentile_ms(50), recent.percentile_ms(99)),
            ),
        ];
        for (name, value) in rows {
            eprintln!("\x1b[2K  {name:<28}{value}");
        }
    }
}
