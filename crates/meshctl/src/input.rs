//! Files that a command line names.

use std::io::Read;
use std::path::Path;

use crate::exit::Failure;

/// Longest input in bytes.
const BYTES_MAX: u64 = 512 << 20;

/// The text of a file, or of stdin for `-`. One that cannot be read is bad data, like one that says the wrong thing.
pub(crate) fn read(path: &Path) -> Result<String, Failure> {
    let shown = path.display();
    let cannot = |error: std::io::Error| Failure::bad_data(format!("cannot read {shown}: {error}"));
    let mut input: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(path).map_err(cannot)?)
    };
    let mut text = String::new();
    let read = input.by_ref().take(BYTES_MAX + 1).read_to_string(&mut text);
    read.map_err(cannot)?;
    if text.len() as u64 > BYTES_MAX {
        return Err(Failure::bad_data(format!("{shown} has more than {BYTES_MAX} bytes")));
    }
    Ok(text)
}
