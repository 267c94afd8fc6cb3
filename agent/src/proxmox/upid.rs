//! The name of a task, which is also the name of its log.
//!
//! `UPID:<node>:<pid>:<pstart>:<starttime>:<type>:<id>:<user>:`, the numbers in hexadecimal
//! (PVE::UPID). A vzdump of one guest has its number as id, one of several has none.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

/// Longest name that is accepted, in bytes: a file's name has 255 at most.
const BYTES_MAX: usize = 255;

/// A task of Proxmox.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Upid {
    /// The node on which it runs, by its host name.
    pub node: String,
    /// Its worker's process.
    pub pid: u32,
    /// When that process began, in clock ticks after the boot: field 22 of `/proc/<pid>/stat`.
    pub process_start: u64,
    /// When the task began.
    pub started: Timestamp,
    /// What it does, such as `vzdump` or `qmrestore`.
    pub kind: String,
    /// What it does it to, as a number of a guest; empty if that is more than one thing.
    pub id: String,
    /// Who asked for it, such as `root@pam` or `root@pam!token`.
    pub user: String,
    text: String,
}

/// A text that is not the name of a task.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the name of a task: UPID:node:pid:pstart:starttime:type:id:user:")]
pub struct UpidError(String);

impl Upid {
    /// As Proxmox writes it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The folder of its log below `/var/log/pve/tasks`: the last digit of the start.
    pub fn folder(&self) -> String {
        format!("{:X}", self.started.as_second() & 0xF)
    }
}

impl FromStr for Upid {
    type Err = UpidError;
    fn from_str(text: &str) -> Result<Self, UpidError> {
        parse(text).ok_or_else(|| UpidError(text.chars().take(BYTES_MAX).collect()))
    }
}

impl fmt::Display for Upid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn parse(text: &str) -> Option<Upid> {
    if text.len() > BYTES_MAX || text.contains(['/', '\n', '\0']) {
        return None;
    }
    let mut parts = text.strip_prefix("UPID:")?.strip_suffix(':')?.split(':');
    let node = parts.next().filter(|node| !node.is_empty())?;
    let pid = u32::try_from(number(parts.next()?)?).ok()?;
    let process_start = number(parts.next()?)?;
    let started = i64::try_from(number(parts.next()?)?).ok()?;
    let kind = parts.next().filter(|kind| !kind.is_empty())?;
    let id = parts.next()?;
    let user = parts.next().filter(|user| !user.is_empty())?;
    if parts.next().is_some() {
        return None;
    }
    Some(Upid {
        node: node.to_owned(),
        pid,
        process_start,
        started: Timestamp::from_second(started).ok()?,
        kind: kind.to_owned(),
        id: id.to_owned(),
        user: user.to_owned(),
        text: text.to_owned(),
    })
}

/// Eight hexadecimal digits; a start in ticks gets a ninth after 497 days.
fn number(text: &str) -> Option<u64> {
    let is_hexadecimal = text.bytes().all(|b| b.is_ascii_hexdigit());
    ((8..=16).contains(&text.len()) && is_hexadecimal).then_some(())?;
    u64::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_apart() {
        let text = "UPID:pve-1:003C8E2F:14E92805:6AC05394:vzdump::root@pam:";
        let upid: Upid = text.parse().unwrap();
        assert_eq!((upid.node.as_str(), upid.pid), ("pve-1", 0x003C_8E2F));
        assert_eq!(upid.process_start, 0x14E9_2805);
        assert_eq!(upid.started.as_second(), 0x6AC0_5394);
        assert_eq!((upid.kind.as_str(), upid.id.as_str()), ("vzdump", ""));
        assert_eq!((upid.user.as_str(), upid.folder().as_str()), ("root@pam", "4"));
        assert_eq!(upid.to_string(), text);
    }

    #[test]
    fn a_long_uptime_and_a_token_are_accepted() {
        let text = "UPID:n:00000001:114E92805:6AC0539F:qmrestore:100:a@pve!t-1:";
        let upid: Upid = text.parse().unwrap();
        assert_eq!(upid.process_start, 0x1_14E9_2805);
        assert_eq!((upid.id.as_str(), upid.folder().as_str()), ("100", "F"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "",
            "UPID:",
            "active",
            "UPID:n:1:114E92805:6AC0539F:qmrestore:100:root@pam:",
            "UPID:n:00000001:114E92805:6AC0539F:qmrestore:100:root@pam",
            "UPID:n:00000001:114E92805:6AC0539F:qmrestore:100:root@pam:x:",
            "UPID:../x:00000001:114E92805:6AC0539F:qmrestore:100:root@pam:",
            "UPID:n:0000000G:114E92805:6AC0539F:qmrestore:100:root@pam:",
            "UPID:n:00000001:114E92805:FFFFFFFFFFFFFFFF:qmrestore:100:root@pam:",
        ] {
            assert!(text.parse::<Upid>().is_err(), "{text}");
        }
    }
}
