//! Flags that several verbs have: which mesh of this machine, the form of the output, times.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::output::Format;

/// Which mesh is meant, by name or by state directory.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct MeshArguments {
    /// Name of the mesh; may be left out if only one runs.
    #[arg(long, value_name = "NAME")]
    pub(crate) mesh: Option<String>,
    #[command(flatten)]
    pub(crate) state: StateArguments,
}

/// Where a mesh keeps its state.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct StateArguments {
    /// State directory of the mesh; otherwise ${XDG_STATE_HOME:-~/.local/state}/weft/NAME.
    #[arg(long, value_name = "DIR", env = "WEFT_STATE_DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

/// Form of what is printed on stdout.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct OutputArguments {
    /// Form of the output.
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Format,
}

/// A time such as `500ms`, `30s` or `2m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let found = weft_api::duration::parse(text);
    found.ok_or_else(|| format!("{text:?} is no time; write for example 500ms, 30s or 2m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        #[track_caller]
        fn check(text: &str, expected: Option<Duration>) {
            assert_eq!(duration(text).ok(), expected, "{text}");
        }
        check("500ms", Some(Duration::from_millis(500)));
        check("30s", Some(Duration::from_secs(30)));
        check("2m", Some(Duration::from_secs(120)));
        check("30", None);
        check("s", None);
        check("1.5s", Some(Duration::from_millis(1500)));
        check("-1s", None);
    }
}
