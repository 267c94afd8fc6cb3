//! How a node's events arrive, and with what times, in words: the page and `pvewatch status` say the same.

use crate::fleet::SKEW_TOLERANCE;
use crate::output::http::api::{DeliveryAnswer, NodeAnswer};
use crate::rules::human;

/// What is worth a word: below it events are on their way.
const DELAY_SECONDS_MIN: f64 = 60.0;

/// Heartbeats are answered once a minute: after three of them an answer is overdue.
const UNANSWERED_SECONDS_MIN: f64 = 180.0;

/// A clock that differs by less is taken to be right.
const SKEW_SECONDS_MIN: f64 = SKEW_TOLERANCE.as_secs() as f64;

/// Each trouble of a node's events in a sentence without its end; none if they arrive.
pub fn troubles(node: &NodeAnswer) -> Vec<String> {
    let mut troubles = Vec::new();
    let agent = node.reading.as_ref().map(|reading| reading.agent).unwrap_or_default();
    let is_heard = node.state == "online";
    let delay = node.event_delay_seconds.unwrap_or(0.0);
    let oldest = agent.oldest_unacked_seconds.unwrap_or(0.0);
    if is_heard && delay >= DELAY_SECONDS_MIN {
        let (missing, delay) = (counted(node.missing_events), human::duration(delay));
        troubles.push(format!("{missing} of its agent have not arrived for {delay}"));
    } else if is_heard && oldest >= DELAY_SECONDS_MIN {
        let (held, oldest) = (counted(agent.outbox_events), human::duration(oldest));
        troubles.push(format!("{held} wait in its outbox, the oldest for {oldest}"));
    }
    if !is_heard && node.missing_events > 0 {
        let missing = counted(node.missing_events);
        troubles.push(format!("{missing} of its agent had not arrived when it was heard last"));
    }
    let unanswered = node.unanswered_seconds.unwrap_or(0.0);
    if is_heard && node.missing_events == 0 && unanswered >= UNANSWERED_SECONDS_MIN {
        let unanswered = human::duration(unanswered);
        troubles.push(format!(
            "no heartbeat of its agent was answered for {unanswered}: acks do not reach it"
        ));
    }
    if let Some(unsaved) = agent.unsaved_events.filter(|unsaved| is_heard && *unsaved > 0) {
        troubles.push(format!("its agent cannot write {} to its disk", counted(unsaved)));
    }
    if node.lost_events > 0 {
        let last = node
            .last_loss
            .as_ref()
            .map(|loss| format!(", the last at {}: {}", human::time(loss.at), loss.reason));
        let last = last.unwrap_or_default();
        troubles.push(format!("{} were lost{last}", counted(node.lost_events)));
    }
    if let Some(skew) = node.clock_skew_seconds.filter(|skew| skew.abs() >= SKEW_SECONDS_MIN) {
        let direction = if skew > 0.0 { "behind" } else { "ahead" };
        troubles.push(format!("its clock is {} {direction}", human::duration(skew.abs())));
    }
    troubles
}

/// What was counted since the collector started, in a sentence without its end.
pub fn summary(delivery: &DeliveryAnswer) -> String {
    let DeliveryAnswer { applied_events, duplicate_events, gaps, waiting_events, .. } = delivery;
    let gaps = if *gaps == 1 { "1 gap".to_owned() } else { format!("{gaps} gaps") };
    let mut text = format!(
        "{} since the start, {duplicate_events} came twice, {gaps}",
        counted(*applied_events)
    );
    if *waiting_events > 0 {
        text.push_str(&format!(", {waiting_events} wait behind gaps"));
    }
    if delivery.lost_events > 0 {
        text.push_str(&format!(", {} lost", delivery.lost_events));
    }
    text
}

/// What waits in an agent's outbox, what was sent again or dropped since the agent's start, and
/// how long its heartbeat takes to the store and back; none if the agent is not heard.
pub fn outbox(node: &NodeAnswer) -> Option<String> {
    let reading = node.reading.as_ref().filter(|_| node.state == "online")?;
    let agent = reading.agent;
    let mut text = agent.outbox_events.to_string();
    if let Some(oldest) = agent.oldest_unacked_seconds.filter(|_| agent.outbox_events > 0) {
        text.push_str(&format!(" for {}", human::duration(oldest)));
    }
    for (count, what) in [(agent.resent_events, "sent again"), (agent.dropped_events, "dropped")] {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    if let Some(seconds) = agent.ack_round_trip_seconds {
        text.push_str(&format!(", heartbeat {:.0} ms", (seconds * 1000.0).max(1.0)));
    }
    Some(text)
}

fn counted(events: u64) -> String {
    if events == 1 { "1 event".to_owned() } else { format!("{events} events") }
}
