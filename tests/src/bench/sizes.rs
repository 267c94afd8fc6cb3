//! How large the programs and packages are.

use std::path::{Path, PathBuf};

use super::figure::{Budget, Figure, Report};

/// The promised size of the agent's program, in megabytes (10^6 bytes).
const AGENT_MB_MAX: f64 = 4.0;

/// Looks at `agent` and at other files; one that is not there has no size.
pub fn run(agent: &Path, others: &[PathBuf]) -> Report {
    let mut figures = vec![size(agent).within(Budget::AtMost(AGENT_MB_MAX))];
    figures.extend(others.iter().map(|file| size(file)));
    Report { name: "sizes", setting: "stripped, as installed".to_owned(), figures }
}

fn size(file: &Path) -> Figure {
    let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();
    let megabytes = file.metadata().ok().map(|metadata| metadata.len() as f64 / 1e6);
    Figure::new(name, megabytes, "MB")
}
