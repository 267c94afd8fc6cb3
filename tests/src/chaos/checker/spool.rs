//! Reads the spools of agents as their format is written down, without the agent's code.
//!
//! A segment is records one after another, each a head of 28 bytes, a name and a payload; see
//! `agent/src/outbox/spool/record.rs`. What was once seen whole in a segment counts as committed,
//! also when the segment is gone later: so a spool is read again and again while it is used.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::Path;
use std::time::SystemTime;

const HEAD: usize = 28;
const MAGIC: [u8; 2] = [0xe5, 0x9a];
const HEADER: u8 = 1;
const EVENT: u8 = 2;

/// A stream's id as its events write it.
pub type Stream = String;

/// What was committed to the spool of one node.
#[derive(Debug, Default)]
pub struct Committed {
    /// By stream and sequence, a digest of what is published.
    pub streams: BTreeMap<Stream, BTreeMap<u64, u64>>,
    /// What is wrong with the spool itself, in words.
    pub wrong: Vec<String>,
    /// How each file looked when it was last read.
    read: BTreeMap<String, Looks>,
}

#[derive(Debug, PartialEq, Eq)]
struct Looks {
    bytes: u64,
    changed: SystemTime,
}

/// A digest of a payload, to compare what was committed with what was stored.
pub fn digest(payload: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    payload.hash(&mut hasher);
    hasher.finish()
}

impl Committed {
    /// Reads what is new in a folder of segments.
    ///
    /// # Errors
    /// When the folder cannot be listed. A file that goes meanwhile is no error.
    pub fn read_folder(&mut self, folder: &Path) -> io::Result<()> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            names.extend(name.ends_with(".segment").then_some(name));
        }
        names.sort();
        for name in &names {
            // One that was deleted between the listing and now has nothing more to say.
            let _ = self.read_file(&folder.join(name), name);
        }
        Ok(())
    }

    /// The last event of each stream.
    pub fn positions(&self) -> BTreeMap<Stream, u64> {
        let last = |events: &BTreeMap<u64, u64>| events.keys().next_back().copied();
        self.streams.iter().filter_map(|(id, events)| Some((id.clone(), last(events)?))).collect()
    }

    /// How many events were committed.
    pub fn events(&self) -> usize {
        self.streams.values().map(BTreeMap::len).sum()
    }

    fn read_file(&mut self, path: &Path, name: &str) -> io::Result<()> {
        let metadata = fs::metadata(path)?;
        let looks = Looks { bytes: metadata.len(), changed: metadata.modified()? };
        if self.read.get(name) == Some(&looks) {
            return Ok(());
        }
        let bytes = fs::read(path)?;
        self.read.insert(name.to_owned(), looks);
        let mut rest = &bytes[..];
        let (mut stream, mut last) = (None, 0);
        // Behind what is not whole there is nothing, or what is just being written.
        while let Some(record) = Record::first_of(rest) {
            rest = &rest[record.length..];
            match record.tag {
                HEADER => stream = stream_of(record.payload),
                EVENT => {
                    self.take(name, stream.as_ref(), last, &record);
                    last = record.sequence;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn take(&mut self, file: &str, stream: Option<&Stream>, last: u64, record: &Record<'_>) {
        let Some(stream) = stream else {
            self.wrong.push(format!("{file}: an event before any header"));
            return;
        };
        let sequence = record.sequence;
        if sequence <= last {
            self.wrong.push(format!("{file}: {sequence} comes after {last} in stream {stream}"));
        }
        let digest = digest(record.payload);
        let events = self.streams.entry(stream.clone()).or_default();
        let before = events.insert(sequence, digest);
        if before.is_some_and(|before| before != digest) {
            let text =
                format!("{file}: {sequence} of stream {stream} is another event than before");
            self.wrong.push(text);
        }
    }
}

fn stream_of(header: &[u8]) -> Option<Stream> {
    let header: serde_json::Value = serde_json::from_slice(header).ok()?;
    header["stream"].as_str().map(str::to_owned)
}

/// One record.
struct Record<'a> {
    tag: u8,
    sequence: u64,
    payload: &'a [u8],
    length: usize,
}

impl<'a> Record<'a> {
    /// The record at the start of these bytes, if it is whole and its checksum is right.
    fn first_of(bytes: &'a [u8]) -> Option<Self> {
        let head = bytes.get(..HEAD)?;
        if head[..2] != MAGIC {
            return None;
        }
        let number = |from: usize, to: usize| {
            head[from..to].iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
        };
        let name_end = HEAD + usize::from(head[3]);
        let length = name_end + usize::try_from(number(4, 8)).ok()?;
        let (name, payload) = bytes.get(HEAD..length)?.split_at(name_end - HEAD);
        let is_whole = u64::from(checksum(&[&head[2..24], name, payload])) == number(24, 28);
        is_whole.then_some(Self { tag: head[2], sequence: number(8, 16), payload, length })
    }
}

/// CRC-32 as in Ethernet and gzip, bit by bit from a table.
fn checksum(parts: &[&[u8]]) -> u32 {
    let mut sum = u32::MAX;
    for byte in parts.iter().copied().flatten() {
        sum = TABLE[usize::from((sum as u8) ^ byte)] ^ sum >> 8;
    }
    !sum
}

static TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { 0xedb8_8320 ^ value >> 1 } else { value >> 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Bytes of a record, made after the written format.
    pub(in super::super) fn record(tag: u8, sequence: u64, name: &str, payload: &str) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([tag, name.len() as u8]);
        bytes.extend((payload.len() as u32).to_le_bytes());
        bytes.extend(sequence.to_le_bytes());
        bytes.extend(0_i64.to_le_bytes());
        let sum = checksum(&[&bytes[2..], name.as_bytes(), payload.as_bytes()]);
        bytes.extend(sum.to_le_bytes());
        bytes.extend(name.bytes());
        bytes.extend(payload.bytes());
        bytes
    }

    fn header(stream: &str) -> Vec<u8> {
        record(HEADER, 1, "", &format!("{{\"version\":1,\"stream\":\"{stream}\"}}"))
    }

    fn event(sequence: u64) -> Vec<u8> {
        record(EVENT, sequence, "unit.changed", &format!("event {sequence}"))
    }

    fn sequences(committed: &Committed, stream: &str) -> Vec<u64> {
        committed.streams.get(stream).map(|it| it.keys().copied().collect()).unwrap_or_default()
    }

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(checksum(&[b"1234", b"56789"]), 0xcbf4_3926);
    }

    #[test]
    fn a_spool_is_read_as_it_grows_is_cut_back_and_goes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("00000000000000000001.segment");
        let mut committed = Committed::default();
        let write = |parts: &[Vec<u8>]| fs::write(&file, parts.concat()).unwrap();
        let torn = event(3)[..20].to_vec();

        write(&[header("a"), event(1), event(2), torn]);
        committed.read_folder(folder.path()).unwrap();
        assert_eq!(sequences(&committed, "a"), [1, 2]);
        write(&[header("a"), event(1), event(2), event(3), event(4)]);
        committed.read_folder(folder.path()).unwrap();
        assert_eq!(sequences(&committed, "a"), [1, 2, 3, 4]);
        write(&[header("a"), event(1), event(2), event(3)]);
        committed.read_folder(folder.path()).unwrap();
        fs::remove_file(&file).unwrap();
        committed.read_folder(folder.path()).unwrap();
        assert_eq!(sequences(&committed, "a"), [1, 2, 3, 4], "what was seen was committed");
        assert_eq!(committed.wrong, [""; 0]);
    }

    #[test]
    fn what_an_agent_writes_is_read() {
        use pvewatch_agent::outbox::Outbox;
        use pvewatch_agent::outbox::spool::{Files, Limits, Owner, Spool};
        use pvewatch_agent::source::Fact;
        use pvewatch_protocol::{CollectorName, StreamId};

        let folder = tempfile::tempdir().unwrap();
        let owner = Owner { site: "home".parse().unwrap(), node: "pve1".parse().unwrap() };
        let limits = Limits { bytes_max: 1 << 30, events_max: usize::MAX };
        let stream = StreamId(uuid::Uuid::now_v7());
        let files = Box::new(Files::open(folder.path()).unwrap());
        let moment = crate::deadline::moment();
        let (spool, opened) = Spool::open(files, owner.clone(), limits, stream, moment);
        let mut outbox = Outbox::new(owner, &[CollectorName::default()], spool, opened);
        let mut units = crate::bench::traffic::PaperNode::new("home", 0, 5);
        let at = crate::deadline::now();
        for _ in 0..2_000 {
            let fact = Fact { time: at, recorded_time: at, data: units.next_change() };
            outbox.append(moment, fact).unwrap();
        }
        let mut committed = Committed::default();
        committed.read_folder(folder.path()).unwrap();
        assert_eq!(sequences(&committed, &stream.0.to_string()), (1..=2_000).collect::<Vec<_>>());
        assert_eq!(committed.wrong, [""; 0]);
    }

    #[test]
    fn a_doctored_spool_is_found_out() {
        for (what, parts, says) in [
            ("order", vec![header("a"), event(2), event(1)], "1 comes after 2"),
            ("no header", vec![event(1)], "before any header"),
            (
                "another event",
                vec![header("a"), event(1), header("a"), record(EVENT, 1, "x", "else")],
                "another event",
            ),
        ] {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("1.segment"), parts.concat()).unwrap();
            let mut committed = Committed::default();
            committed.read_folder(folder.path()).unwrap();
            assert!(committed.wrong.iter().any(|it| it.contains(says)), "{what}: {committed:?}");
        }
    }
}
