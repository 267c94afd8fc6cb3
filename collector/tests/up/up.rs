//! `pvewatch up`: it starts, says what it started, and ends; and what it says when it cannot.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::running::{Up, outcome, stderr};

/// `nobody` and `nogroup`.
const NOBODY: u32 = 65534;

#[test]
fn everything_starts_and_says_in_plain_words_what_it_is() {
    let data = tempfile::tempdir().unwrap();
    let mut up = Up::start(data.path());
    up.line_with("Stop with Ctrl-C");
    for part in [
        "watches this machine as node test1",
        "page     http://127.0.0.1:",
        "broker   mqtt://127.0.0.1:",
        "mosquitto_sub -V 5 -h 127.0.0.1 -p ",
        "Sources on this machine",
        "  units ",
        "  load     active",
        &data.path().display().to_string(),
    ] {
        assert!(up.said.contains(part), "{part:?} is not in: {}", up.said);
    }
    assert!(!up.said.contains(":0/"), "port 0 is no address: {}", up.said);
    assert!(!up.command_line().contains("assword"), "{}", up.command_line());
    assert!(data.path().join("collector.db").is_file());
    let (status, error) = up.end(Signal::INT);
    assert_eq!((status.code(), error.as_str()), (Some(0), ""));
}

#[test]
fn it_ends_well_when_told_by_the_system_too() {
    let data = tempfile::tempdir().unwrap();
    let mut up = Up::start(data.path());
    up.url();
    let (status, error) = up.end(Signal::TERM);
    assert_eq!((status.code(), error.as_str()), (Some(0), ""));
}

#[test]
fn a_taken_port_is_named_and_so_is_the_option_for_another() {
    let data = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = data.path().to_str().unwrap();
    for (http, mqtt, option) in
        [(address.as_str(), "127.0.0.1:0", "--http"), ("127.0.0.1:0", &address, "--mqtt")]
    {
        let output =
            outcome(&["up", "--http", http, "--mqtt", mqtt, "--data", data, "--node", "test1"]);
        let error = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(&address) && error.contains(option), "{error}");
        assert!(error.starts_with("pvewatch: "), "{error}");
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o555)).unwrap();
    let output = as_somebody(folder.path())
        .args(["up", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--node", "test1"])
        .arg("--data")
        .arg(&data)
        .output()
        .unwrap();
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains(data.to_str().unwrap()) && error.contains("--data"), "{error}");
}

#[test]
fn a_folder_that_another_one_uses_is_named() {
    let data = tempfile::tempdir().unwrap();
    let mut first = Up::start(data.path());
    first.url();
    let output = outcome(&[
        "up",
        "--http",
        "127.0.0.1:0",
        "--mqtt",
        "127.0.0.1:0",
        "--data",
        data.path().to_str().unwrap(),
    ]);
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("in use by another") && error.contains("--data"), "{error}");
}

#[test]
fn a_wrong_command_line_is_told_apart_from_a_failure() {
    for arguments in [
        &["up", "--http", "nowhere"][..],
        &["up", "--mqtt", "127.0.0.1"],
        &["up", "--node", "a b"],
        &["up", "--colour"],
        &["down"],
        &[],
        &["status", "--url", "ftp://host"],
    ] {
        let output = outcome(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
    }
}

/// The program as a user who may not write everywhere; it has to lie where that user can see it.
fn as_somebody(folder: &Path) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_pvewatch"));
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let visible = folder.join("pvewatch");
    if std::fs::hard_link(program, &visible).is_err() {
        std::fs::copy(program, &visible).unwrap();
    }
    let mut command = Command::new(visible);
    command.uid(NOBODY).gid(NOBODY).current_dir("/");
    command
}
