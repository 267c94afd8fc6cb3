//! Configuration files that are right, and files that are wrong with what is said about them.

#![expect(clippy::unwrap_used, reason = "what fails in a helper fails the test")]

use std::path::{Path, PathBuf};

use pvewatch_collector::config::Config;
use pvewatch_collector::store::Retention;

fn files(ending: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/config");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let files: Vec<_> = files.filter(|path| path.to_string_lossy().ends_with(ending)).collect();
    assert!(!files.is_empty(), "no {ending} files");
    files
}

#[test]
fn good_files_are_read() {
    for path in files(".good.toml") {
        Config::load(&path).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn bad_files_are_refused_with_their_name_and_what_would_be_right() {
    for path in files(".bad.toml") {
        let expected = std::fs::read_to_string(path.with_extension("error")).unwrap();
        let error = Config::load(&path).unwrap_err().to_string();
        assert!(error.contains(expected.trim()), "{}: {error}", path.display());
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(error.contains(&name), "{error}");
        let is_of_the_whole = error.contains("[broker]") && !error.contains("TOML");
        assert!(is_of_the_whole || error.contains("line "), "no line: {error}");
    }
}

#[test]
fn an_empty_file_is_a_collector_for_this_machine() {
    let config = Config::parse(Path::new("x.toml"), "").unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(config.data, Path::new("/var/lib/pvewatch-collector"));
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:8420");
    let broker = config.embedded_broker().unwrap();
    assert_eq!((broker.listen.to_string().as_str(), broker.anonymous), ("127.0.0.1:1883", true));
    assert_eq!(Retention::from(config.retention), Retention::default());
}

#[test]
fn with_users_or_tls_nobody_is_let_in_without() {
    let text = "[[embedded_broker.users]]\nname = \"pve1\"\nrole = \"node\"\n\
                password_file = \"/x\"";
    let config = Config::parse(Path::new("x.toml"), text).unwrap();
    assert!(!config.embedded_broker().unwrap().anonymous);
    let text = "[broker]\nurl = \"mqtt://broker.example.org\"";
    assert_eq!(Config::parse(Path::new("x.toml"), text).unwrap().embedded_broker(), None);
}
