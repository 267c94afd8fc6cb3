//! Disks that cannot be read, or not wholly, when the agent starts.

use super::*;

#[test]
fn a_disk_that_cannot_be_listed_at_the_start_is_used_as_soon_as_it_can_be() {
    let mut story = Story::new();
    story.append(3);
    story.sync();
    let before = story.disk.state().segments.clone();

    story.disk.fails(|fails| fails.list = true);
    story.restart();
    story.append(2);
    story.sync();
    let trouble = story.outbox.trouble().unwrap().to_owned();
    for part in ["events cannot be stored", "the disk is broken", "kept in memory"] {
        assert!(trouble.contains(part), "{part:?} is not in: {trouble}");
    }
    assert_eq!(story.pass(Duration::from_secs(3600)), (range(2, 1..=2), vec![]));
    assert_eq!(story.disk.state().segments, before, "nothing is written over what is there");

    story.acks = false;
    story.append(1);
    story.disk.fails(|fails| fails.list = false);
    let (sent, declared) = story.pass(Duration::from_secs(31));
    assert_eq!(sent[..4], [range(2, 3..=3), range(1, 1..=3)].concat());
    assert_eq!(declared, []);
    assert_eq!(story.outbox.unsaved_events(), 0);
    story.sync();
    assert_eq!(story.outbox.trouble(), None);

    story.restart();
    let left = [range(1, 1..=3), range(2, 3..=3)].concat();
    assert_eq!(story.sends(), (left, vec![]), "a collector has the others");
}

#[test]
fn a_segment_that_cannot_be_read_at_the_start_for_a_moment_is_read_later() {
    let mut story = three_older_segments();
    story.disk.fails(|fails| fails.read = [3].into());
    story.restart();
    story.append(1);
    assert_eq!(story.sends(), (range(3, 1..=1), vec![]));
    story.disk.fails(|fails| fails.read.clear());
    let older = [range(1, 1..=30), range(2, 1..=1)].concat();
    assert_eq!(story.pass(Duration::from_secs(2)), (older, vec![]));
    assert_eq!(story.findings, [""; 0]);
}

#[test]
fn a_segment_that_cannot_be_read_at_the_start_is_declared_also_at_the_end_of_its_stream() {
    let mut story = three_older_segments();
    story.disk.fails(|fails| fails.read = [3].into());
    story.restart();
    let (sent, declared) = story.pass(Duration::from_secs(40));
    assert_eq!(sent, [range(1, 1..=20), range(2, 1..=1)].concat());
    let [lost] = &declared[..] else { panic!("{declared:?}") };
    assert_eq!((lost.from, lost.through), (Sequence(21), Sequence(30)));
    let [line] = &story.findings[..] else { panic!("{:?}", story.findings) };
    assert!(line.contains("segment 3 cannot be read: the disk is broken"), "{line}");
    story.append(1);
    story.sync();
    assert!(story.disk.state().set_aside.contains_key(&3), "once that is written down");
}
