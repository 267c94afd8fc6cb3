//! Configuration files: good ones load, and each bad one says what is wrong and where.
//!
//! `name.bad.toml` lies beside `name.bad.txt`, the exact message; `UPDATE=1` writes it anew.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

use pvewatch_agent::config::Config;

fn files(ending: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/config");
    let mut files: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

#[test]
fn every_good_file_is_accepted() {
    for path in files(".good.toml") {
        if let Err(error) = Config::load(&path) {
            panic!("{error}");
        }
    }
}

#[test]
fn every_bad_file_is_refused_with_its_line_and_what_would_be_right() {
    for path in files(".bad.toml") {
        let error = Config::load(&path).unwrap_err().to_string();
        let message = error.replace(&format!("{}: ", path.display()), "");
        let golden = path.with_extension("txt");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&golden, format!("{message}\n")).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(message, expected.trim_end(), "{}", path.display());
    }
}

#[test]
fn the_environment_is_one_label_among_the_others() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/config");
    let labels = Config::load(&directory.join("full.good.toml")).unwrap().node_labels();
    let labels: Vec<_> = labels.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(labels, [("environment", "prod"), ("owner", "storage team"), ("rack", "r2")]);
}
