//! Damage that is found when the agent starts, at the end of a segment above all.

use super::*;

/// Damages the last record of a segment, and starts again: what is declared, and what is said.
#[track_caller]
fn check_damaged_end(story: &mut Story, segment: u64, text: &str, lost: (u64, u64)) {
    story.disk.damage(segment, text);
    story.restart();
    let (_, declared) = story.sends();
    let ranges: Vec<_> = declared.iter().map(|lost| (lost.from.0, lost.through.0)).collect();
    assert_eq!(ranges, [lost]);
    assert!(declared[0].reason.contains("it is damaged"), "{}", declared[0].reason);
    let [line] = &story.findings[..] else { panic!("{:?}", story.findings) };
    let says = format!("segment {segment} is damaged in 1 places; it is kept as");
    assert!(line.contains(&says), "{line}");
}

#[test]
fn damage_to_the_last_event_of_a_stream_is_told_from_a_write_that_was_cut_off() {
    let mut story = Story::new();
    story.append(5);
    story.sync();
    check_damaged_end(&mut story, 1, "u5.service", (5, 5));
}

#[test]
fn damage_to_the_only_event_of_a_stream_is_declared() {
    let mut story = Story::new();
    story.append(1);
    story.sync();
    check_damaged_end(&mut story, 1, "u1.service", (1, 1));
    assert!(story.disk.state().set_aside.contains_key(&1));
}

#[test]
fn damage_to_the_last_event_of_a_segment_in_the_middle_is_declared() {
    let mut story = three_older_segments();
    check_damaged_end(&mut story, 2, "u20.service", (20, 20));
}

#[test]
fn the_end_of_an_older_stream_is_known_to_the_streams_behind_it() {
    let mut story = three_older_segments();
    story.disk.damage(3, "u30.service");
    story.restart();
    let (sent, declared) = story.sends();
    assert_eq!(sent, [range(1, 1..=29), range(2, 1..=1)].concat());
    let [lost] = &declared[..] else { panic!("{declared:?}") };
    assert_eq!((lost.from, lost.through), (Sequence(30), Sequence(30)));
}

#[test]
fn the_end_of_an_older_stream_is_known_although_what_tells_of_it_is_damaged_too() {
    let mut story = three_older_segments();
    story.append(1);
    story.sync();
    story.disk.damage(3, "u30.service");
    story.disk.damage(4, "gone");
    story.restart();
    let (_, declared) = story.sends();
    let ranges: Vec<_> = declared.iter().map(|lost| (lost.from.0, lost.through.0)).collect();
    assert_eq!(ranges, [(30, 30)]);
}

#[test]
fn a_stream_whose_only_segment_is_all_damaged_is_declared() {
    let mut story = Story::new();
    story.append(5);
    story.sync();
    story.disk.state().segments.get_mut(&1).unwrap().fill(0x5a);
    story.restart();
    let (sent, declared) = story.sends();
    assert_eq!(sent, []);
    let [lost] = &declared[..] else { panic!("{declared:?}") };
    assert_eq!((lost.from, lost.through), (Sequence(1), Sequence(5)));
    assert!(story.disk.state().set_aside.contains_key(&1));
    assert!(story.findings[0].contains("does not begin as a segment does"), "{:?}", story.findings);
}

#[test]
fn a_write_that_was_cut_off_and_never_durable_is_no_loss() {
    let mut story = Story::new();
    story.append(5);
    story.sync();
    story.append(1);
    story.disk.damage(1, "u6.service");
    story.restart();
    assert_eq!(story.sends(), (range(1, 1..=5), vec![]));
    let [line] = &story.findings[..] else { panic!("{:?}", story.findings) };
    assert!(line.starts_with("torn: "), "{line}");
    assert!(story.disk.state().set_aside.is_empty());
}
