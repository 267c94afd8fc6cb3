//! Segments that the disk does not give back while the agent runs, or gives back damaged.

use super::*;

#[test]
fn a_segment_that_cannot_be_read_for_a_moment_is_waited_for() {
    let mut story = three_older_segments();
    story.disk.fails(|fails| fails.read = [2].into());
    assert_eq!(story.sends(), (range(1, 1..=10), vec![]));
    let trouble = story.outbox.trouble().unwrap().to_owned();
    assert!(trouble.contains("segment 2 of the disk cannot be read"), "{trouble}");
    assert_eq!(story.pass(Duration::from_secs(20)), (vec![], vec![]), "nothing overtakes it");

    story.disk.fails(|fails| fails.read.clear());
    let all = [range(1, 11..=30), range(2, 1..=1)].concat();
    assert_eq!(story.pass(Duration::from_secs(20)), (all, vec![]));
    assert_eq!((story.outbox.trouble(), story.outbox.dropped_events()), (None, 0));
    assert_eq!(story.findings, [""; 0]);
}

#[test]
fn a_segment_that_cannot_be_read_for_a_minute_is_declared_and_blocks_nothing() {
    let mut story = three_older_segments();
    story.disk.fails(|fails| fails.read = [2].into());
    let (sent, declared) = story.pass(Duration::from_secs(70));
    assert_eq!(sent, [range(1, 1..=10), range(1, 21..=30), range(2, 1..=1)].concat());
    let [lost] = &declared[..] else { panic!("{declared:?}") };
    assert_eq!((lost.from, lost.through), (Sequence(11), Sequence(20)));
    assert!(lost.reason.contains("cannot be read"), "{}", lost.reason);
    assert!(lost.reason.contains("the disk is broken"), "{}", lost.reason);
    assert_eq!((story.outbox.trouble(), story.outbox.dropped_events()), (None, 10));
    let [line] = &story.findings[..] else { panic!("{:?}", story.findings) };
    assert!(line.contains("segment 2") && line.contains("11 to 20"), "{line}");
    let reads = story.disk.state().reads;
    story.pass(Duration::from_secs(600));
    assert_eq!(story.disk.state().reads, reads, "it is not tried for ever");

    // Once the note of it is durable its file is set aside.
    story.sync();
    assert_eq!(story.disk.segments(), [1, 3, 4]);
    assert!(story.disk.state().set_aside.contains_key(&2));
}

#[test]
fn the_end_of_a_stream_that_was_given_up_is_declared_by_the_next_start_too() {
    let mut story = three_older_segments();
    story.disk.fails(|fails| fails.read = [3].into());
    story.acks = false;
    story.pass(Duration::from_secs(100));
    story.sync();
    assert_eq!(story.disk.segments(), [1, 2, 4]);

    story.restart();
    let (sent, declared) = story.sends();
    assert_eq!(sent, [range(1, 1..=20), range(2, 1..=1)].concat());
    let [lost] = &declared[..] else { panic!("{declared:?}") };
    assert_eq!((lost.from, lost.through), (Sequence(21), Sequence(30)));
}

#[test]
fn a_disk_that_is_gone_for_good_costs_a_minute_and_little_more() {
    let mut story = three_older_segments();
    story.disk.fails(|fails| fails.read = [1, 2, 3].into());
    let (sent, declared) = story.pass(Duration::from_secs(70));
    assert_eq!(sent, range(2, 1..=1), "what is still in memory");
    let ranges: VecDeque<_> = declared.iter().map(|lost| (lost.from.0, lost.through.0)).collect();
    assert_eq!(ranges, [(1, 10), (11, 20), (21, 30)]);
}

#[test]
fn damage_that_is_read_back_is_told_once_and_declared_with_its_reason() {
    let mut story = three_older_segments();
    story.disk.damage(2, "u14.service");
    story.disk.damage(2, "u20.service");
    let (sent, declared) = story.sends();
    let read = [range(1, 1..=13), range(1, 15..=19), range(1, 21..=30), range(2, 1..=1)];
    assert_eq!(sent, read.concat());
    let ranges: Vec<_> = declared.iter().map(|lost| (lost.from.0, lost.through.0)).collect();
    assert_eq!(ranges, [(14, 14), (20, 20)]);
    for lost in &declared {
        assert!(lost.reason.contains("cannot be read"), "{}", lost.reason);
        assert!(lost.reason.contains("damaged"), "{}", lost.reason);
    }
    let [line] = &story.findings[..] else { panic!("{:?}", story.findings) };
    for part in ["segment 2", "2 of its events", "it is kept as 2.damaged"] {
        assert!(line.contains(part), "{part:?} is not in: {line}");
    }
    story.outbox.on_connected(story.now);
    story.outbox.on_told(story.now);
    story.sends();
    assert_eq!(story.findings.len(), 1, "{:?}", story.findings);
}

#[test]
fn a_full_outbox_is_no_reason_for_what_is_damaged() {
    let mut story = Story::new();
    story.append(90);
    story.sync();
    assert!(story.outbox.dropped_events() > 0);
    story.disk.damage(3, "u25.service");
    let (_, declared) = story.sends();
    let reasons: Vec<_> = declared.iter().map(|it| (it.through.0, it.reason.as_str())).collect();
    let [(through, full), (25, damaged)] = reasons[..] else { panic!("{reasons:?}") };
    assert_eq!(through % EVENTS_PER_SEGMENT, 0);
    assert!(full.contains("outbox full") && damaged.contains("damaged"), "{reasons:?}");
}

#[test]
fn what_is_in_memory_still_is_written_again_when_its_segment_is_given_up() {
    let mut story = Story::new();
    story.append(5);
    story.sync();
    story.append(2);
    story.acks = false;
    story.disk.fails(|fails| fails.read = [1].into());
    let (sent, declared) = story.pass(Duration::from_secs(70));
    assert_eq!(sent, range(1, 6..=7));
    assert_eq!(declared.len(), 1, "{declared:?}");
    story.sync();
    story.sync();
    assert_eq!(story.disk.segments(), [2]);
    story.restart();
    let (sent, declared) = story.sends();
    assert_eq!(sent, range(1, 6..=7), "{declared:?}");
    assert_eq!((declared[0].from, declared[0].through), (Sequence(1), Sequence(5)));
}
