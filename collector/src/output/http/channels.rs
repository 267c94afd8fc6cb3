//! What waits to be told through a channel, in words: the page and `pvewatch status` say the same.

use jiff::Timestamp;

use crate::output::channel::ChannelReading;
use crate::rules::human;

/// What is worth a word: below it steps are on their way.
const STUCK_SECONDS_MIN: f64 = 60.0;

/// For how long a channel has taken nothing although there is something, in seconds; 0 if it is
/// up to date.
pub fn stuck_seconds(channel: &ChannelReading, now: Timestamp) -> f64 {
    let stuck = channel.since.map(|since| now.duration_since(since).as_secs_f64());
    stuck.unwrap_or(0.0).max(0.0)
}

/// Each channel that does not come further, in a sentence.
pub fn notes(channels: &[ChannelReading], now: Timestamp) -> Vec<String> {
    let is_stuck = |channel: &&ChannelReading| {
        channel.trouble.is_some() || stuck_seconds(channel, now) >= STUCK_SECONDS_MIN
    };
    channels.iter().filter(is_stuck).map(|channel| note(channel, now)).collect()
}

fn note(channel: &ChannelReading, now: Timestamp) -> String {
    let steps = match channel.untold {
        1 => "1 step".to_owned(),
        untold => format!("{untold} steps"),
    };
    let stuck = human::duration(stuck_seconds(channel, now));
    let why = channel.trouble.as_ref().map(|trouble| format!(": {trouble}")).unwrap_or_default();
    format!("{steps} of alerts could not be told through {} for {stuck}{why}.", channel.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_worth_a_word_when_it_is_stuck() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let channel = |untold, since: Option<i64>, trouble: Option<&str>| ChannelReading {
            name: "mqtt-notices",
            untold,
            since: since.map(at),
            trouble: trouble.map(str::to_owned),
        };
        let channels = [
            channel(0, None, None),
            channel(3, Some(90), None),
            channel(1, Some(40), None),
            channel(2, Some(95), Some("the broker refuses it")),
        ];
        let expected = [
            "1 step of alerts could not be told through mqtt-notices for 1 min.",
            "2 steps of alerts could not be told through mqtt-notices for 5 s: the broker refuses it.",
        ];
        assert_eq!(notes(&channels, at(100)), expected);
    }
}
