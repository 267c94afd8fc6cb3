//! What a host reads of itself, in words: the page and `pvewatch nodes` say the same.

use pvewatch_protocol::sample::{Clock, Filesystem, Temperature};

use crate::fleet::{hottest, overheated, used_ratio};
use crate::output::http::api::InterfaceAnswer;
use crate::output::http::words::Tone;
use crate::rules::human;

/// Fewer errors a second are not worth a word.
const ERRORS_PER_SECOND_MIN: f64 = 0.1;

/// The filesystem that has the least room, in parts of its size, of those that can be written, and
/// which part of it is used.
pub fn fullest(filesystems: &[Filesystem]) -> Option<(&Filesystem, f64)> {
    let ratio =
        |it: &Filesystem| used_ratio(it.used_bytes, it.available_bytes).filter(|_| !it.read_only);
    let ratios = filesystems.iter().filter_map(|it| Some((it, ratio(it)?)));
    ratios.max_by(|(_, one), (_, other)| one.total_cmp(other))
}

/// How hot the hottest chip is, and whether one is too hot by its own word; none if none tells.
pub fn heat(chips: &[Temperature]) -> Option<(String, Tone)> {
    let tone = if overheated(chips).is_some() { Tone::Bad } else { Tone::Neutral };
    let told = overheated(chips).or(hottest(chips))?;
    Some((format!("{:.0} °C", told.celsius), tone))
}

/// By how much the clock is wrong at most.
pub fn clock(clock: &Clock) -> (String, Tone) {
    if clock.synchronised {
        (format!("±{}", span(clock.maximum_error_seconds)), Tone::Neutral)
    } else {
        ("not kept right".to_owned(), Tone::Bad)
    }
}

/// A time that is mostly far below a second.
fn span(seconds: f64) -> String {
    match seconds {
        0.0..0.001 => format!("{:.0} µs", seconds * 1e6),
        0.001..1.0 => format!("{:.0} ms", seconds * 1e3),
        _ => human::duration(seconds),
    }
}

/// What that interface of the node carries that has carried most; none before its second reading.
pub fn network(interfaces: &[InterfaceAnswer]) -> Option<String> {
    // What guests carry among themselves says little of the node's network.
    let own = interfaces.iter().filter(|it| it.counted.folded == 0);
    let carried =
        |it: &&InterfaceAnswer| it.counted.receive_bytes.saturating_add(it.counted.transmit_bytes);
    let busiest = own.max_by_key(carried)?;
    let received = human::bytes(busiest.receive_bytes_per_second?);
    let transmitted = human::bytes(busiest.transmit_bytes_per_second?);
    Some(format!("{} {received}/s in, {transmitted}/s out", busiest.counted.name))
}

/// The interfaces that have errors, each in a sentence without its end.
pub fn network_troubles(interfaces: &[InterfaceAnswer]) -> Vec<String> {
    let told = interfaces.iter().filter_map(|it| {
        let rate = it.errors_per_second.filter(|rate| *rate >= ERRORS_PER_SECOND_MIN)?;
        let (name, rate) = (&it.counted.name, human::number(rate));
        Some(format!("its interface {name} has {rate} errors a second"))
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_told_as_exactly_as_it_is() {
        for (seconds, told) in
            [(0.000_012, "±12 µs"), (0.0034, "±3 ms"), (0.25, "±250 ms"), (9.0, "±9 s")]
        {
            let right = Clock {
                synchronised: true,
                estimated_error_seconds: 0.0,
                maximum_error_seconds: seconds,
            };
            assert_eq!(clock(&right), (told.to_owned(), Tone::Neutral));
            let adrift = Clock { synchronised: false, ..right };
            assert_eq!(clock(&adrift).1, Tone::Bad);
        }
    }

    #[test]
    fn a_chip_that_is_too_hot_is_told_before_one_that_is_hotter_and_may_be() {
        let chip = |celsius, critical_celsius| Temperature {
            chip: "x".to_owned(),
            sensor: None,
            celsius,
            high_celsius: None,
            critical_celsius,
        };
        assert_eq!(heat(&[]), None);
        let (well, hot) = (chip(91.4, None), chip(85.0, Some(84.0)));
        assert_eq!(heat(std::slice::from_ref(&well)), Some(("91 °C".to_owned(), Tone::Neutral)));
        assert_eq!(heat(&[well, hot]), Some(("85 °C".to_owned(), Tone::Bad)));
    }
}
