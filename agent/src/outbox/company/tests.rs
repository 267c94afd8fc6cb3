//! Where an agent stays and what it leaves, as stories of seconds.

use super::*;

const INTERVAL: Duration = Duration::from_secs(10);

/// An agent that is connected, with a clock.
struct Story {
    company: Company,
    now: Instant,
}

impl Story {
    #[expect(clippy::disallowed_methods, reason = "an Instant cannot be made otherwise")]
    fn new(brokers: usize) -> Self {
        let company = Company::new(brokers, INTERVAL, &[main(), second()]);
        let mut story = Self { company, now: Instant::now() };
        story.company.on_connected(story.now);
        story
    }

    fn hear(&mut self, name: &CollectorName, word: Word) {
        self.company.on_word(self.now, name, word);
    }

    /// Lets seconds pass, with a sample every ten; stops when the broker is left.
    fn pass(&mut self, seconds: u64) -> Option<(u64, Leave)> {
        for second in 1..=seconds {
            self.now += Duration::from_secs(1);
            if second % 10 == 0 {
                self.company.on_sample();
            }
            if let Some(leave) = self.company.on_deadline(self.now) {
                return Some((second, leave));
            }
        }
        None
    }

    /// How long it stays at the next broker, where nobody is.
    fn stays_alone(&mut self) -> u64 {
        self.company.on_connected(self.now);
        self.pass(1_000).map_or(0, |(seconds, _)| seconds)
    }
}

fn main() -> CollectorName {
    CollectorName::default()
}

fn second() -> CollectorName {
    "second".parse().unwrap()
}

#[test]
fn where_nobody_is_nobody_stays() {
    let mut story = Story::new(2);
    assert_eq!(story.pass(1_000), Some((20, Leave::NobodyThere)));
}

#[test]
fn with_one_broker_it_is_never_left() {
    let mut story = Story::new(1);
    assert_eq!(story.pass(10_000), None);
    story.hear(&main(), Word::Live);
    story.hear(&main(), Word::Gone);
    assert_eq!(story.pass(10_000), None);
    assert_eq!(story.company.next_deadline(), None);
}

#[test]
fn a_collector_that_answers_is_stayed_with() {
    let mut story = Story::new(2);
    story.hear(&main(), Word::Kept);
    for _ in 0..100 {
        assert_eq!(story.pass(70), None);
        story.hear(&main(), Word::Live);
    }
}

#[test]
fn agents_follow_a_collector_that_goes_home() {
    let mut story = Story::new(2);
    story.hear(&main(), Word::Kept);
    story.hear(&main(), Word::Live);
    assert_eq!(story.pass(60), None);
    story.hear(&main(), Word::Gone);
    assert_eq!(story.pass(1_000), Some((20, Leave::AllGone)));
}

#[test]
fn one_that_had_gone_before_is_not_followed_home_so_that_every_broker_has_its_turn() {
    let mut story = Story::new(3);
    story.hear(&main(), Word::Gone);
    assert_eq!(story.pass(1_000), Some((20, Leave::NobodyThere)));
}

#[test]
fn one_that_comes_back_meanwhile_is_stayed_with() {
    let mut story = Story::new(2);
    story.hear(&main(), Word::Gone);
    assert_eq!(story.pass(19), None);
    story.hear(&main(), Word::Live);
    assert_eq!(story.pass(60), None);
}

#[test]
fn one_of_two_collectors_is_company_enough() {
    let mut story = Story::new(2);
    story.hear(&main(), Word::Live);
    story.hear(&second(), Word::Kept);
    story.hear(&main(), Word::Gone);
    for _ in 0..10 {
        assert_eq!(story.pass(70), None);
        story.hear(&second(), Word::Live);
    }
    story.hear(&second(), Word::Gone);
    assert_eq!(story.pass(1_000), Some((20, Leave::AllGone)));
}

#[test]
fn a_collector_of_another_name_is_no_company() {
    let mut story = Story::new(2);
    story.hear(&"other".parse().unwrap(), Word::Live);
    assert_eq!(story.pass(1_000), Some((20, Leave::NobodyThere)));
}

#[test]
fn a_word_that_a_broker_kept_is_believed_for_a_while() {
    let mut story = Story::new(2);
    story.hear(&main(), Word::Kept);
    assert_eq!(story.pass(1_000), Some((100, Leave::NotAWord)));
}

#[test]
fn silence_proves_nothing_while_nothing_is_asked() {
    let mut story = Story::new(2);
    story.hear(&main(), Word::Live);
    for _ in 0..1_000 {
        story.now += Duration::from_secs(1);
        assert_eq!(story.company.on_deadline(story.now), None);
    }
    assert_eq!(story.pass(1_000).map(|(_, leave)| leave), Some(Leave::NotAWord));
}

#[test]
fn seldom_samples_are_given_their_time() {
    let mut company = Company::new(2, Duration::from_secs(600), &[main()]);
    let story = Story::new(2);
    company.on_connected(story.now);
    company.on_word(story.now, &main(), Word::Live);
    let due = company.next_deadline().unwrap();
    assert_eq!(due.duration_since(story.now), Duration::from_secs(60 + 4 * 600));
}

#[test]
fn where_nobody_is_anywhere_stays_grow_longer() {
    let mut story = Story::new(2);
    let stays: Vec<u64> = (0..8).map(|_| story.stays_alone()).collect();
    assert_eq!(stays, [20, 20, 40, 40, 80, 80, 80, 80]);
    story.company.on_connected(story.now);
    story.hear(&main(), Word::Live);
    story.company.on_lost();
    assert_eq!(story.stays_alone(), 20, "somebody was met meanwhile");
}
