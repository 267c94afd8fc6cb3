//! The program: its exit codes, its last words, and what it leaves behind when it is killed.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use pvewatch_collector::store::{EventFilter, Store};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::peer::{Peer, stream, unit_event};

const PROGRAM: &str = env!("CARGO_BIN_EXE_pvewatch-collector");

fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().unwrap()
}

/// What it said, with its exit code.
fn ended(output: &Output) -> (Option<i32>, String) {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

fn write_config(dir: &Path, data: &Path, http: &str) -> String {
    let path = dir.join("collector.toml");
    let text = format!(
        "data = {data:?}\n[embedded_broker]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"{http}\"\n"
    );
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Starts the program and reads from its log where its broker is.
fn start(config: &str) -> (Child, SocketAddr) {
    let (child, broker, _) = start_serving(config);
    (child, broker)
}

/// The same, and where its page is.
fn start_serving(config: &str) -> (Child, SocketAddr, String) {
    let mut child = Command::new(PROGRAM)
        .args(["--config", config])
        .env("PVEWATCH_LOG", "info")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = Vec::new();
    let address = loop {
        let Some(Ok(line)) = lines.next() else { panic!("it ended: {said:#?}") };
        if let Some((_, address)) = line.split_once("mqtt://")
            && line.contains("embedded broker")
        {
            break address.parse().unwrap();
        }
        said.push(line);
    };
    let page = said.iter().find_map(|line| line.split_once("page, API and metrics: "));
    let page = page.unwrap_or_else(|| panic!("{said:#?}")).1.to_owned();
    // Whoever writes to a closed pipe is killed: the rest is read and dropped.
    std::thread::spawn(move || lines.for_each(drop));
    (child, address, page)
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

#[test]
fn a_wrong_command_line_is_2_and_a_wrong_configuration_is_1() {
    let dir = TempDir::new().unwrap();
    let bad = dir.path().join("bad.toml");
    std::fs::write(&bad, "sight = 1\n").unwrap();
    let bad = bad.to_str().unwrap();
    let good = write_config(dir.path(), dir.path(), "127.0.0.1:0");
    let missing = dir.path().join("missing.toml");
    for (arguments, code, part) in [
        (vec!["--frobnicate"], 2, "--frobnicate"),
        (vec!["--version"], 0, env!("CARGO_PKG_VERSION")),
        (vec!["--check-config", "--config", bad], 1, "bad.toml"),
        (vec!["--config", missing.to_str().unwrap()], 1, "missing.toml"),
        (vec!["--check-config", "--config", &good], 0, "collector.toml: ok"),
    ] {
        let (found, text) = ended(&run(&arguments));
        assert_eq!(found, Some(code), "{arguments:?}: {text}");
        assert!(text.contains(part), "{arguments:?}: {text}");
    }
}

#[test]
fn a_policy_file_that_is_wrong_is_named_and_keeps_nothing_from_starting() {
    let dir = TempDir::new().unwrap();
    let policy = dir.path().join("policy.toml");
    let config = write_config(dir.path(), &dir.path().join("data"), "127.0.0.1:0");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}[policy]\nfile = {policy:?}\n")).unwrap();
    let check = || ended(&run(&["--check-config", "--config", &config]));
    let (code, text) = check();
    assert!(code == Some(1) && text.contains("policy.toml cannot be read"), "{code:?} {text}");
    std::fs::write(&policy, "[[policy]]\nname = \"a\"\nprotection = 1\n").unwrap();
    let (code, text) = check();
    assert!(code == Some(1) && text.contains("policy.toml:3:"), "{code:?} {text}");
    let (mut child, _) = start(&config);
    signal(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    std::fs::write(&policy, "[[policy]]\nname = \"a\"\nprotection = true\n").unwrap();
    assert_eq!(check().0, Some(0));
}

#[test]
fn rules_are_read_anew_by_a_signal_and_by_the_operator() {
    let dir = TempDir::new().unwrap();
    let rules = dir.path().join("rules.d");
    std::fs::create_dir(&rules).unwrap();
    let config = write_config(dir.path(), &dir.path().join("data"), "127.0.0.1:0");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}[rules]\nfolder = {rules:?}\n")).unwrap();
    let (mut child, _, page) = start_serving(&config);
    let pvewatch = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pvewatch"));
        ended(&command.args(arguments).args(["--url", &page]).output().unwrap())
    };
    let is_off = || {
        let (code, text) = pvewatch(&["rules", "list"]);
        assert_eq!(code, Some(0), "{text}");
        text.contains("HostDown: node, off")
    };
    let write = |name: &str, text: &str| std::fs::write(rules.join(name), text).unwrap();
    assert!(!is_off());
    write("own.toml", "[[override]]\nrule = \"HostDown\"\nenabled = false\n");
    let (code, text) = pvewatch(&["rules", "reload"]);
    assert!(code == Some(0) && text.contains("own.toml"), "{code:?} {text}");
    let until = |wanted: bool| {
        let is_so = (0..600).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(100));
            is_off() == wanted
        });
        assert!(is_so, "the rule was never off: {wanted}");
    };
    until(true);

    write("own.toml", "[[override]]\nrule = \"HostDwn\"\nenabled = false\n");
    let (code, text) = pvewatch(&["rules", "reload"]);
    assert!(code == Some(1) && text.contains("did you mean \"HostDown\"?"), "{code:?} {text}");
    let (code, text) = ended(&run(&["--check-config", "--config", &config]));
    assert!(code == Some(1) && text.contains("own.toml:2:"), "{code:?} {text}");
    assert!(is_off(), "a bad file changes nothing");

    write("own.toml", "");
    signal(&child, Signal::HUP);
    until(false);
    signal(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_taken_port_or_an_unusable_folder_is_named_and_is_1() {
    let dir = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let config = write_config(dir.path(), &dir.path().join("data"), &taken);
    let (code, text) = ended(&run(&["--config", &config]));
    assert!(code == Some(1) && text.contains(&taken), "{code:?} {text}");
    // The kernel's own read-only file system, which no user can write to.
    let config = write_config(dir.path(), Path::new("/proc/sys"), "127.0.0.1:0");
    let (code, text) = ended(&run(&["--config", &config]));
    assert!(code == Some(1) && text.contains("/proc/sys"), "{code:?} {text}");
}

#[test]
fn told_to_stop_it_drains_and_is_0() {
    for by in [Signal::TERM, Signal::INT] {
        let dir = TempDir::new().unwrap();
        let config = write_config(dir.path(), &dir.path().join("data"), "127.0.0.1:0");
        let (mut child, _) = start(&config);
        signal(&child, by);
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn a_backup_is_made_while_it_runs_and_restored_when_it_does_not() {
    let dir = TempDir::new().unwrap();
    let config = write_config(dir.path(), &dir.path().join("data"), "127.0.0.1:0");
    let file = dir.path().join("backup.db");
    let file = file.to_str().unwrap();
    let check = |command: &str, code: i32, part: &str| {
        let (found, text) = ended(&run(&[command, file, "--config", &config]));
        assert_eq!(found, Some(code), "{command}: {text}");
        assert!(text.contains(part), "{command}: {text}");
    };
    check("backup", 1, "there is no store");
    let (mut child, _) = start(&config);
    check("backup", 0, "backup.db");
    check("backup", 1, "is there already");
    check("restore", 1, "in use by another collector");
    signal(&child, Signal::TERM);
    child.wait().unwrap();
    check("restore", 0, "before-restore-1");
    check("restore", 0, "before-restore-2");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_time_it_has_everything_that_it_acked() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let config = write_config(dir.path(), &data, "127.0.0.1:0");
    let stream = stream();
    let mut acked = 0;
    for round in 0..3 {
        let (mut child, address) = start(&config);
        let mut peer = Peer::connect_to(address).await;
        peer.wait_ready().await;
        for sequence in 1..=50 {
            // The first ones are known from the round before.
            peer.publish(&unit_event(stream, round * 25 + sequence, "active")).await;
        }
        acked = round * 25 + 40;
        peer.wait_acked_beyond(stream, acked).await;
        signal(&child, Signal::KILL);
        child.wait().unwrap();
    }
    let store = Store::open(&data).unwrap();
    let filter = EventFilter { limit: 1000, ..EventFilter::default() };
    let events = store.reader().events(&filter).unwrap();
    let found: Vec<u64> = events.iter().rev().map(|event| event.sequence.0).collect();
    let expected: Vec<u64> = (1..=found.len() as u64).collect();
    assert_eq!(found, expected, "once, in order");
    assert!(found.len() as u64 >= acked);
}
