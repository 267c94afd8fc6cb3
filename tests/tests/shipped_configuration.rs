//! The shipped default configurations are accepted: as they are, with each key that they show
//! switched on alone, and with all of them at once.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::Path;
use std::process::Command;

use pvewatch_tests::certificates::{Authority, Validity};
use pvewatch_tests::places::{checkout, program};

/// Where the shipped files say that other files are.
const FOLDER: &str = "/etc/pvewatch";

fn shipped(name: &str) -> String {
    fs::read_to_string(checkout().join(format!("packaging/config/{name}.toml"))).unwrap()
}

#[test]
fn as_they_are_installed_they_are_accepted() {
    for name in ["agent", "collector"] {
        let (accepted, said) = check_configuration(name, &shipped(name));
        assert!(accepted, "{name}: {said}");
    }
}

/// Each with the section it stands in: some exclude each other, and some name files that are not
/// here, but none may be unknown.
#[test]
fn every_key_that_is_shown_is_known() {
    for name in ["agent", "collector"] {
        let text = shipped(name);
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate().filter(|(_, line)| is_shown_key(line)) {
            let is_section = |line: &&str| line.trim_start_matches('#').starts_with('[');
            let section = lines[..at].iter().rposition(is_section);
            let switched_on = lines.iter().enumerate().map(|(number, line)| match number {
                _ if number == at || Some(number) == section => line.trim_start_matches('#'),
                _ => line,
            });
            let text = switched_on.collect::<Vec<&str>>().join("\n");
            let (_, said) = check_configuration(name, &text);
            assert!(!said.contains("unknown"), "{name}: {line}: {said}");
            assert!(!said.contains("duplicate key"), "{name}: {line}: {said}");
        }
    }
}

/// With everything that can stand together, and the files that it names.
#[test]
fn all_that_is_shown_can_be_switched_on_together() {
    let folder = tempfile::tempdir().unwrap();
    make_files(folder.path());
    for (name, sections_out) in [
        ("agent", &[][..]),
        // One broker or the other.
        ("collector", &["[broker]"]),
        ("collector", &["[embedded_broker]", "[embedded_broker.tls]", "[[embedded_broker.users]]"]),
    ] {
        let mut section = "";
        let mut text = String::new();
        let whole = shipped(name);
        for line in whole.lines() {
            let is_shown = is_shown_key(line) || line.starts_with("#[");
            let line = if is_shown { &line[1..] } else { line };
            if line.starts_with('[') {
                section = line;
            }
            // More than one broker stands in the place of one.
            if !sections_out.contains(&section) && !line.starts_with("urls =") {
                text += line;
                text.push('\n');
            }
        }
        // With certificates the broker is reached by TLS.
        let text = text.replace("mqtt://127.0.0.1:1883", "mqtts://127.0.0.1:8883");
        let text = text.replace(FOLDER, &folder.path().display().to_string());
        let (accepted, said) = check_configuration(name, &text);
        assert!(accepted, "{name} without {sections_out:?}: {said}\n{text}");
    }
}

#[test]
fn the_policy_file_is_accepted_as_it_is_and_with_all_that_it_shows() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    let as_it_is = shipped("policy");
    // Prose has a blank after the "#".
    let switch_on = |line: &str| match line.strip_prefix('#') {
        Some(shown) if !shown.is_empty() && !shown.starts_with(' ') => shown.to_owned(),
        _ => line.to_owned(),
    };
    let switched_on: Vec<String> = as_it_is.lines().map(switch_on).collect();
    let switched_on = switched_on.join("\n");
    assert!(switched_on.contains("\nbackup = {"), "{switched_on}");
    let configuration = format!("[policy]\nfile = {file:?}\n");
    for text in [as_it_is, switched_on] {
        fs::write(&file, &text).unwrap();
        let (accepted, said) = check_configuration("collector", &configuration);
        assert!(accepted, "{said}\n{text}");
    }
    fs::write(&file, "[[polciy]]\n").unwrap();
    let (accepted, said) = check_configuration("collector", &configuration);
    assert!(!accepted && said.contains("did you mean \"policy\"?"), "{said}");
}

/// The files that the shipped configurations name.
fn make_files(folder: &Path) {
    let tls = folder.join("tls");
    let authority = Authority::new(&tls, "ca");
    fs::copy(authority.certificate(), tls.join("ca.crt")).unwrap();
    for name in ["pve1", "collector", "broker"] {
        let identity = authority.client(name, Validity::Valid);
        fs::copy(identity.certificate, tls.join(format!("{name}.crt"))).unwrap();
    }
    for name in ["mqtt-password", "homeassistant.password"] {
        fs::write(folder.join(name), "secret\n").unwrap();
    }
    fs::write(folder.join("proxmox-token"), "pvewatch@pve!agent=secret\n").unwrap();
    fs::create_dir(folder.join("rules.d")).unwrap();
    fs::write(folder.join("rules.toml"), "").unwrap();
    fs::write(folder.join("policy.toml"), shipped("policy")).unwrap();
}

/// `#key = value`: a setting that is shown and not set; prose has a blank after the "#".
fn is_shown_key(line: &str) -> bool {
    let key = line.strip_prefix('#').and_then(|rest| rest.split_once(" = ")).map(|(key, _)| key);
    key.is_some_and(|key| {
        !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
    })
}

/// Whether a program accepts a configuration, and what it said.
fn check_configuration(name: &str, text: &str) -> (bool, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    let output = Command::new(program(&format!("pvewatch-{name}")))
        .args(["--check-config", "--config"])
        .arg(file.path())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}
