//! What a story's node says of its guests: which run, and why not.

use jiff::Timestamp;
use pvewatch_protocol::Vmid;
use pvewatch_protocol::event::{GuestKind, GuestRun, GuestState};

/// What a guest of a story is: from 700 on they are containers.
pub fn kind(vmid: Vmid) -> GuestKind {
    if u32::from(vmid) < 700 { GuestKind::Qemu } else { GuestKind::Lxc }
}

/// `VMID[:running|stopped[:CAUSE[:awaited]]]`.
pub fn run(word: &str, since: Timestamp) -> GuestRun {
    let mut parts = word.split(':');
    let vmid: Vmid = parts.next().unwrap().parse().unwrap();
    let state = match parts.next() {
        None | Some("running") => GuestState::Running,
        Some("stopped") => GuestState::Stopped,
        Some(other) => panic!("unknown state {other:?}"),
    };
    let cause = parts.next().map(|cause| serde_json::from_value(cause.into()).unwrap());
    GuestRun {
        vmid,
        kind: kind(vmid),
        state,
        since: cause.map(|_| since),
        cause,
        expected: cause.is_some_and(pvewatch_protocol::event::GuestCause::is_meant),
        awaited: parts.next() == Some("awaited"),
        upid: None,
        user: None,
        detail: None,
    }
}
