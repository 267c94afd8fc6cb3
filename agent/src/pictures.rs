//! Turns pictures of the sources into the parts of checkpoints, and events into topics.

use jiff::Timestamp;
use pvewatch_protocol::checkpoint::split;
use pvewatch_protocol::event::{AgentFacts, SourceStatus};
use pvewatch_protocol::{Checkpoint, CheckpointContent, NodeName, Position, Site, Topic};

/// One part of a checkpoint, and where it goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// The full topic.
    pub topic: String,
    /// The payload.
    pub checkpoint: Checkpoint,
}

/// The parts of one picture, each small enough for any broker.
pub fn parts(
    site: &Site,
    node: &NodeName,
    content: CheckpointContent,
    as_of: Position,
    at: Timestamp,
) -> Vec<Part> {
    let Some(source) = content.source() else {
        return Vec::new();
    };
    let contents = match content {
        CheckpointContent::Units(units) => each(units, CheckpointContent::Units),
        CheckpointContent::Guests(guests) => each(guests, CheckpointContent::Guests),
        CheckpointContent::GuestRuns(runs) => each(runs, CheckpointContent::GuestRuns),
        CheckpointContent::BackupJobs(jobs) => each(jobs, CheckpointContent::BackupJobs),
        CheckpointContent::BackupStorages(storages) => {
            each(storages, CheckpointContent::BackupStorages)
        }
        whole @ (CheckpointContent::Agent(_) | CheckpointContent::Unknown(_)) => vec![whole],
    };
    let of = u32::try_from(contents.len()).unwrap_or(u32::MAX);
    (1..=of)
        .zip(contents)
        .map(|(part, content)| Part {
            topic: Topic::Checkpoint { node: node.clone(), source: source.to_owned(), part }
                .at(site),
            checkpoint: Checkpoint { as_of, part, of, at, content },
        })
        .collect()
}

fn each<T: serde::Serialize>(
    elements: Vec<T>,
    part: impl Fn(Vec<T>) -> CheckpointContent,
) -> Vec<CheckpointContent> {
    split(elements).into_iter().map(part).collect()
}

/// Where an event goes.
pub fn event_topic(site: &Site, node: &NodeName, kind: &str) -> String {
    Topic::Event { node: node.clone(), kind: kind.to_owned() }.at(site)
}

/// Takes in what a source says of itself. Returns whether that is news.
pub fn set_status(facts: &mut AgentFacts, status: SourceStatus) -> bool {
    match facts.sources.iter_mut().find(|known| known.name == status.name) {
        Some(known) if *known == status => false,
        Some(known) => {
            *known = status;
            true
        }
        None => {
            facts.sources.push(status);
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use pvewatch_protocol::{Sequence, StreamId};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_picture_without_units_is_still_one_part() {
        let node = "pve1".parse().unwrap();
        let as_of = Position { stream: StreamId(Uuid::nil()), sequence: Sequence(1) };
        let content = CheckpointContent::Units(Vec::new());
        let parts = parts(&Site::default(), &node, content, as_of, Timestamp::UNIX_EPOCH);
        assert_eq!(parts.len(), 1);
        assert_eq!(parts[0].topic, "pvewatch/v1/home/node/pve1/checkpoint/units/1");
        assert_eq!((parts[0].checkpoint.part, parts[0].checkpoint.of), (1, 1));
    }
}
