//! What systemd told on a node: a line for each change, written before it is told.
//!
//! A change is known by its time in microseconds, which no other change of the node has.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// The changes that were told on a node.
#[derive(Debug, Default)]
pub struct Told {
    /// By time in microseconds: whether the unit failed; otherwise it recovered.
    pub changes: BTreeMap<i64, bool>,
}

impl Told {
    /// A line of the file, with its end.
    pub fn line(at: i64, failed: bool) -> String {
        format!("{at} {}\n", if failed { "failed" } else { "recovered" })
    }

    /// Reads the file of a node; a line that was cut off was not told.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(file: &Path) -> io::Result<Self> {
        let text = fs::read_to_string(file)?;
        let change = |line: &str| {
            let (at, change) = line.strip_suffix('\n')?.split_once(' ')?;
            Some((at.parse().ok()?, change == "failed"))
        };
        Ok(Self { changes: text.split_inclusive('\n').filter_map(change).collect() })
    }
}
