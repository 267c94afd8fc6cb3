//! A systemd for the agent's whole program, played on a socket in a thread of this process.

use std::path::Path;

use pvewatch_tests::deadline::{GENEROUS, eventually};
use tokio::net::UnixListener;

use self::play::{Play, Played, later, play};

// Parts of it are for the agent's own tests.
#[allow(dead_code, reason = "shared with the tests of the agent")]
#[path = "../../../agent/tests/units/play.rs"]
mod play;

/// Plays a systemd on which each of these units fails once, in order. Returns when it listens at
/// `socket`; ends with the process.
#[track_caller]
pub fn units_that_fail(socket: &Path, names: Vec<String>) {
    let path = socket.to_owned();
    std::thread::spawn(move || {
        let act = || Play {
            version: "257",
            units: names.iter().cloned().map(Played::runs).collect(),
            said_after_listing: (0..)
                .zip(&names)
                .map(|(number, name)| Played::failed(name.clone(), later(number)))
                .collect(),
            ..Play::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = UnixListener::bind(path).unwrap();
            // The agent has a connection for its units, and on a node of Proxmox one for its guests.
            tokio::join!(play(&listener, act()), play(&listener, act()));
        });
    });
    eventually("the played bus", GENEROUS, || socket.exists().then_some(()));
}
