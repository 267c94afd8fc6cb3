//! A disk that forgets what was not synced, tears, fails and fills up.
//!
//! It knows at every moment what a loss of power would leave: the judge reads that, not the code
//! under test.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fastrand::Rng;
use memchr::memmem;
use pvewatch_agent::outbox::spool::{Storage, SyncJob};

/// What is wrong with the disk now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Every write fails.
    pub writes_fail: bool,
    /// Every sync fails.
    pub syncs_fail: bool,
    /// There is no room for more; a write leaves a part of its bytes.
    pub full: bool,
    /// Nothing can be read, nor listed.
    pub reads_fail: bool,
    /// Nothing can be deleted.
    pub removes_fail: bool,
}

#[derive(Debug, Clone, Default)]
struct Segment {
    bytes: Vec<u8>,
    /// How many of them survive a loss of power.
    durable: usize,
    /// How many of them a sync made so; the rest survived by luck, and may end torn.
    promised: usize,
    /// Whether the name does.
    is_named: bool,
    /// Whether it was to be deleted and was not: whoever lists the disk again finds it.
    is_left_over: bool,
    /// Where a byte went bad.
    rotten: Vec<usize>,
}

#[derive(Debug, Default)]
struct State {
    segments: BTreeMap<u64, Segment>,
    /// Deleted, but back after a loss of power.
    ghosts: BTreeMap<u64, Segment>,
    mark: Vec<u8>,
    faults: Faults,
}

/// The disk of one node.
#[derive(Debug, Clone, Default)]
pub struct Disk(Arc<Mutex<State>>);

/// What a disk held at one moment.
#[derive(Debug, Clone)]
pub struct Image(BTreeMap<u64, Segment>, Vec<u8>);

impl Disk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn readable(&self) -> io::Result<()> {
        if self.state().faults.reads_fail { Err(broken()) } else { Ok(()) }
    }

    /// Sets what is wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// What is wrong now.
    pub fn faults(&self) -> Faults {
        self.state().faults
    }

    /// The power is lost: what is not durable is gone, in part, or garbage.
    pub fn lose_power(&self, rng: &mut Rng) {
        let mut state = self.state();
        let ghosts = std::mem::take(&mut state.ghosts);
        for (number, ghost) in ghosts {
            if ghost.is_named && rng.bool() {
                state.segments.entry(number).or_insert(ghost);
            }
        }
        state.segments.retain(|_, segment| segment.is_named || rng.bool());
        for segment in state.segments.values_mut() {
            let kept = rng.usize(segment.durable..=segment.bytes.len());
            segment.bytes.truncate(kept);
            if kept > segment.durable && rng.u8(0..3) == 0 {
                let from = rng.usize(segment.durable..kept);
                segment.bytes[from..].fill(if rng.bool() { 0 } else { 0x5a });
            }
            segment.durable = segment.bytes.len();
            segment.is_named = true;
        }
    }

    /// One byte of what is durable goes bad: anywhere, or with at least one whole event behind it.
    /// Returns whether there was one; `lost` is called with the id of every event that may be lost
    /// by it.
    pub fn rot(&self, anywhere: bool, rng: &mut Rng, mut lost: impl FnMut(&str)) -> bool {
        let mut state = self.state();
        let mut segments: Vec<&mut Segment> =
            state.segments.values_mut().filter(|segment| segment.promised > 0).collect();
        if segments.is_empty() {
            return false;
        }
        let segment = segments.swap_remove(rng.usize(..segments.len()));
        let end = if anywhere {
            segment.promised
        } else {
            let last_event = whole_events(&segment.bytes[..segment.promised]).last().unwrap_or(0);
            // The mark is in the event's envelope; the record's own head is before it.
            last_event.saturating_sub(200)
        };
        if end == 0 {
            return false;
        }
        let at = rng.usize(..end);
        for mark in whole_events(&segment.bytes) {
            lost(id_at(&segment.bytes, mark));
        }
        segment.bytes[at] ^= 1 << rng.u8(0..8);
        segment.rotten.push(at);
        true
    }

    /// Everything as it is now.
    pub fn image(&self) -> Image {
        let state = self.state();
        Image(state.segments.clone(), state.mark.clone())
    }

    /// Everything as it was.
    pub fn restore(&self, image: &Image) {
        let mut state = self.state();
        state.segments.clone_from(&image.0);
        state.mark.clone_from(&image.1);
        state.ghosts.clear();
    }

    /// Calls `found` with the id of every event that would survive a loss of power, but for what
    /// was to be deleted.
    pub fn durable_ids(&self, mut found: impl FnMut(&str)) {
        let state = self.state();
        let segments = state.segments.values();
        for segment in segments.filter(|segment| segment.is_named && !segment.is_left_over) {
            let bytes = &segment.bytes[..segment.promised];
            for at in whole_events(bytes) {
                // A byte that went bad can make an id that of another event.
                let id = at..at + EVENT_MARK.len() + ID_BYTES_MAX;
                if !segment.rotten.iter().any(|rotten| id.contains(rotten)) {
                    found(id_at(bytes, at));
                }
            }
        }
    }
}

/// How the id of an event begins in its envelope.
pub const EVENT_MARK: &[u8] = br#""id":""#;

/// The longest id of an event: node, stream and number.
const ID_BYTES_MAX: usize = 80;

/// The id of the event whose mark is there.
fn id_at(bytes: &[u8], mark: usize) -> &str {
    let rest = &bytes[mark + EVENT_MARK.len()..];
    let end = rest.iter().position(|byte| *byte == b'"').unwrap_or(0);
    std::str::from_utf8(&rest[..end]).unwrap_or_default()
}

/// Where the marks of events are; a write that failed can leave a part of one at the end.
fn whole_events(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let mut marks = memmem::find_iter(bytes, EVENT_MARK).peekable();
    std::iter::from_fn(move || {
        let found = marks.next()?;
        let is_whole = marks.peek().is_some() || memmem::find(&bytes[found..], b"}}").is_some();
        is_whole.then_some(found)
    })
}

fn broken() -> io::Error {
    io::Error::other("the disk is broken")
}

fn unknown() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Storage for Disk {
    fn segments(&mut self) -> io::Result<Vec<u64>> {
        self.readable()?;
        let mut state = self.state();
        state.segments.values_mut().for_each(|segment| segment.is_left_over = false);
        Ok(state.segments.keys().copied().collect())
    }

    fn read(&mut self, segment: u64) -> io::Result<Vec<u8>> {
        self.readable()?;
        self.state().segments.get(&segment).map(|it| it.bytes.clone()).ok_or_else(unknown)
    }

    fn append(&mut self, segment: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let faults = state.faults;
        let file = state.segments.entry(segment).or_default();
        if faults.writes_fail || faults.full {
            file.bytes.extend_from_slice(&bytes[..bytes.len() / 2]);
            return Err(if faults.full { io::ErrorKind::StorageFull.into() } else { broken() });
        }
        file.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn truncate(&mut self, segment: u64, length: u64) -> io::Result<()> {
        let mut state = self.state();
        if state.faults.writes_fail {
            return Err(broken());
        }
        let file = state.segments.get_mut(&segment).ok_or_else(unknown)?;
        file.bytes.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        file.durable = file.durable.min(file.bytes.len());
        file.promised = file.promised.min(file.bytes.len());
        Ok(())
    }

    fn sync(&mut self, segments: &[u64]) -> io::Result<SyncJob> {
        let disk = self.clone();
        let now: Vec<(u64, usize)> = {
            let state = self.state();
            let length = |number: &u64| Some((*number, state.segments.get(number)?.bytes.len()));
            segments.iter().filter_map(length).collect()
        };
        Ok(Box::new(move || {
            let mut state = disk.state();
            if state.faults.syncs_fail {
                return Err(broken());
            }
            for (number, length) in now {
                if let Some(file) = state.segments.get_mut(&number) {
                    file.durable = file.durable.max(length.min(file.bytes.len()));
                    file.promised = file.durable;
                    file.is_named = true;
                }
            }
            Ok(())
        }))
    }

    fn remove(&mut self, segment: u64) -> io::Result<()> {
        let mut state = self.state();
        if state.faults.removes_fail {
            state.segments.get_mut(&segment).ok_or_else(unknown)?.is_left_over = true;
            return Err(broken());
        }
        let file = state.segments.remove(&segment).ok_or_else(unknown)?;
        state.ghosts.insert(segment, file);
        Ok(())
    }

    fn set_aside(&mut self, segment: u64) -> io::Result<String> {
        Ok(format!("{segment}.damaged"))
    }

    fn set_mark(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        if state.faults.writes_fail || state.faults.full {
            return Err(broken());
        }
        state.mark = bytes.to_vec();
        Ok(())
    }

    fn mark(&mut self) -> io::Result<Vec<u8>> {
        self.readable()?;
        Ok(self.state().mark.clone())
    }

    fn place(&self) -> String {
        "the simulated disk".to_owned()
    }
}
