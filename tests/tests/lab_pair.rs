//! Two collectors side by side: one is killed and comes back, and what it missed happened on a
//! real node.
//!
//! What takes an hour in earnest takes seconds here: how long a collector is away changes nothing
//! but how much it has to read, and the simulation (`tests/simulate`) lets hours pass.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::{SignedDuration, Timestamp};
use pvewatch_protocol::{CollectorPresence, codec};
use pvewatch_tests::deadline::{GENEROUS, eventually, look_until, now};
use pvewatch_tests::lab::Suite;
use pvewatch_tests::on_both_releases;
use pvewatch_tests::servers::Collector;
use pvewatch_tests::story::{Site, WatchedNode};
use pvewatch_tests::subscriber::{Message, Subscriber};
use rustix::process::Signal;
use serde_json::Value;

on_both_releases!(a_collector_that_was_away_says_what_the_other_one_says);

/// A collector takes what is older for something that it missed.
const LATE_AFTER: SignedDuration = SignedDuration::from_secs(10);

const RUNS: &str = "ExecStart=sleep infinity";

/// Beside the rule that fires at once, one that waits and fires on.
const FOR_A_WHILE: &str = r#"
[[rule]]
name = "FailedForAWhile"
scope = "unit"
when = 'active_state == "failed"'
for = "2s"
keep_firing_for = "1s"
severity = "critical"
summary = "{{ name }} is failed for a while"
"#;

const AT_ONCE: &str = "SystemdServiceFailed";
const LATER: &str = "FailedForAWhile";

fn a_collector_that_was_away_says_what_the_other_one_says(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let access = site.access().clone();
    let mut main = Collector::named_on("main", &access, FOR_A_WHILE);
    let second = Collector::named_on("second", &access, FOR_A_WHILE);
    let pve1 = site.node("pve1", suite);
    pve1.configure_for("collectors = [\"main\", \"second\"]", &access, "");
    site.wait_until_watching(&pve1);
    let units = ["flaps", "twitches", "recovers", "relapses", "stays", "blips", "comes", "calm"];
    for unit in units {
        pve1.has_service(&format!("{unit}.service"), RUNS);
        pve1.starts(&format!("{unit}.service"));
    }

    // Both know and tell that these are failed.
    for unit in ["flaps", "twitches", "recovers", "relapses", "stays"] {
        pve1.fails(&format!("{unit}.service"));
        for (collector, rule) in [(&main, AT_ONCE), (&main, LATER), (&second, LATER)] {
            expect(collector, "firing", rule, unit);
        }
    }
    let mut ear = Ear::listen(&site);
    main.stop(Signal::KILL);

    recover(&pve1, &second, "flaps");
    fail(&pve1, &second, "flaps");
    // Whichever of its failures are one alert: both have to see it alike.
    pve1.starts("twitches.service");
    pve1.fails("twitches.service");
    recover(&pve1, &second, "recovers");
    recover(&pve1, &second, "relapses");
    fail(&pve1, &second, "relapses");
    recover(&pve1, &second, "relapses");
    fail(&pve1, &second, "blips");
    recover(&pve1, &second, "blips");
    fail(&pve1, &second, "comes");
    ear.expect_all_of(&second);

    // New pictures, which know the end of all this and nothing of what came before it. As every
    // quarter of an hour they come because they do; here because the broker has forgotten them.
    site.mosquitto().stop(Signal::KILL);
    site.mosquitto().start_again();
    site.wait_for_picture_after(&pve1);
    recover(&pve1, &second, "comes");
    fail(&pve1, &second, "comes");
    ear.expect_all_of(&second);

    // What is younger counts as on its way, and is told like anything else.
    eventually("all of it to be long over", GENEROUS, || {
        let newest = second.events()[0]["recorded_time"].as_str()?.parse::<Timestamp>().ok()?;
        (now().duration_since(newest) > LATE_AFTER + SignedDuration::from_secs(1)).then_some(())
    });
    let told_before = ear.keys();
    ear.begin_anew();
    main.start_again();
    eventually("both to have the same events", GENEROUS, || {
        (facts(&main.events()) == facts(&second.events())).then_some(())
    });
    expect_same_alerts(&main, &second);
    expect_each_event_once_and_in_order(&main.events());

    // One that comes after everything else that the collector had to say.
    fail(&pve1, &main, "calm");
    expect(&second, "firing", LATER, "calm");
    ear.expect_all_of(&main);
    ear.expect_all_of(&second);
    ear.expect_same_words_for_each_key();
    ear.expect_silence_until_ready("main");
    let now_firing = firing(&second);
    for (key, notice) in ear.notices() {
        let is_new = notice["title"].as_str().is_some_and(|title| title.contains("calm"));
        assert!(is_new || told_before.contains(&key), "nobody had told {notice}");
        let about = notice["alerts"][0].as_str().unwrap_or_default();
        let is_over = notice["status"] == "firing" && !now_firing.contains_key(about);
        assert!(!is_over, "it is over: {notice}");
    }
    for alert in ear.alerts() {
        let starts_at = now_firing.get(alert["fingerprint"].as_str().unwrap_or_default());
        let is_over = alert["state"] == "firing" && starts_at != Some(&alert["startsAt"]);
        assert!(!is_over, "it is over: {alert}");
    }
    expect_same_alerts(&main, &second);
    site.expect_no_gaps(&pve1);
}

#[track_caller]
fn expect(collector: &Collector, state: &str, rule: &str, unit: &str) {
    let unit = format!("{unit}.service");
    collector.expect_alert(state, &[("alertname", rule), ("unit", &unit)]);
}

/// A unit fails, and a collector knows it for good.
#[track_caller]
fn fail(node: &WatchedNode, witness: &Collector, unit: &str) {
    node.fails(&format!("{unit}.service"));
    expect(witness, "firing", AT_ONCE, unit);
    expect(witness, "firing", LATER, unit);
}

/// A failed unit runs again, and a collector knows it for good.
#[track_caller]
fn recover(node: &WatchedNode, witness: &Collector, unit: &str) {
    node.starts(&format!("{unit}.service"));
    expect(witness, "resolved", AT_ONCE, unit);
    expect(witness, "resolved", LATER, unit);
}

/// What events say, without when this collector received them.
fn facts(events: &[Value]) -> BTreeMap<String, Value> {
    let fact = |event: &Value| {
        let mut event = event.clone();
        let fields = event.as_object_mut().expect("an event is an object");
        fields.remove("received_at");
        fields.remove("late");
        (fields["id"].to_string(), event)
    };
    events.iter().map(fact).collect()
}

#[track_caller]
fn expect_each_event_once_and_in_order(events: &[Value]) {
    let mut streams: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for event in events.iter().rev() {
        let sequence = event["sequence"].as_u64().expect("a sequence is a number");
        streams.entry(event["stream"].to_string()).or_default().push(sequence);
    }
    for (stream, sequences) in streams {
        let expected: Vec<u64> = (1..=sequences.len() as u64).collect();
        assert_eq!(sequences, expected, "{stream}");
    }
}

/// All alerts of a collector, byte for byte as its API shows them, by fingerprint.
fn alerts(collector: &Collector) -> BTreeMap<String, String> {
    let alerts = collector.alerts();
    alerts.iter().map(|alert| (alert["fingerprint"].to_string(), alert.to_string())).collect()
}

#[track_caller]
fn expect_same_alerts(main: &Collector, second: &Collector) {
    let are_same = || (alerts(main) == alerts(second)).then_some(());
    if look_until(GENEROUS, are_same).is_none() {
        let (main, second) = (alerts(main), alerts(second));
        let by_main = main.iter().filter(|(print, alert)| second.get(*print) != Some(alert));
        let by_second = second.iter().filter(|(print, alert)| main.get(*print) != Some(alert));
        let lines = |all: Vec<(&String, &String)>| {
            all.into_iter().map(|(_, alert)| format!("  {alert}\n")).collect::<String>()
        };
        let (main, second) = (lines(by_main.collect()), lines(by_second.collect()));
        panic!("main says\n{main}and second\n{second}");
    }
}

/// When each alert that fires began.
fn firing(collector: &Collector) -> HashMap<String, Value> {
    let fires = |alert: &Value| alert["state"] == "firing";
    let alerts = collector.alerts().into_iter().filter(fires);
    alerts
        .map(|alert| {
            let fingerprint = alert["fingerprint"].as_str().unwrap_or_default().to_owned();
            (fingerprint, alert["starts_at"].clone())
        })
        .collect()
}

/// Somebody who hears what collectors tell, as a bridge does.
struct Ear {
    subscriber: Subscriber,
}

impl Ear {
    #[track_caller]
    fn listen(site: &Site) -> Self {
        let topics = ["notice", "alert/+", "collector/+/presence"];
        let topics = topics.map(|topic| format!("pvewatch/v1/home/{topic}"));
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        Self { subscriber: Subscriber::connect(site.access(), &topics) }
    }

    /// From now on only what is said from now on counts.
    fn begin_anew(&mut self) {
        self.subscriber.forget();
    }

    fn heard(&mut self, topic: &str) -> Vec<Message> {
        let part = format!("/{topic}");
        let messages = self.subscriber.messages().iter();
        messages.filter(|it| it.topic.contains(&part) && !it.retained).cloned().collect()
    }

    fn notices(&mut self) -> Vec<(String, Value)> {
        let notices = self.heard("notice").into_iter().map(|it| it.json());
        notices.map(|it| (it["key"].as_str().unwrap_or_default().to_owned(), it)).collect()
    }

    fn alerts(&mut self) -> Vec<Value> {
        self.heard("alert/").iter().map(Message::json).collect()
    }

    fn keys(&mut self) -> BTreeSet<String> {
        self.notices().into_iter().map(|(key, _)| key).collect()
    }

    /// Waits until the newest step of every alert that a collector knows was told, as far as it
    /// came after this began to listen.
    #[track_caller]
    fn expect_all_of(&mut self, collector: &Collector) {
        let last = collector
            .alerts()
            .into_iter()
            .max_by_key(|it| {
                let times =
                    ["ends_at", "starts_at"].map(|time| it[time].as_str().map(str::to_owned));
                times.into_iter().flatten().max()
            })
            .expect("there are alerts");
        let (fingerprint, state) = (last["fingerprint"].clone(), last["state"].clone());
        let starts_at = last["starts_at"].as_str().expect("a time").to_owned();
        self.subscriber.wait_for("a notice of the newest step", GENEROUS, |it| {
            it.topic.ends_with("/notice") && {
                let notice = it.json();
                notice["alerts"][0] == fingerprint
                    && notice["status"] == state
                    && notice["key"].as_str().is_some_and(|key| key.contains(&starts_at))
            }
        });
    }

    #[track_caller]
    fn expect_same_words_for_each_key(&mut self) {
        let mut known: HashMap<String, Value> = HashMap::new();
        for (key, notice) in self.notices() {
            let first = known.entry(key).or_insert_with(|| notice.clone());
            assert_eq!(*first, notice, "one key, two notices");
        }
    }

    /// A collector says that it is ready before it says anything else; the other one is quiet.
    #[track_caller]
    fn expect_silence_until_ready(&mut self, collector: &str) {
        let topic = format!("/collector/{collector}/presence");
        let said = self.subscriber.messages().iter().filter(|it| !it.retained);
        let is_ready = |it: &&Message| {
            it.topic.ends_with(&topic)
                && codec::decode::<CollectorPresence>(&it.payload).is_ok_and(|it| it.ready)
        };
        let before: Vec<&Message> = said.take_while(|it| !is_ready(it)).collect();
        let spoke = before.iter().find(|it| !it.topic.contains("/collector/"));
        assert!(spoke.is_none(), "said before it was ready: {}", spoke.expect("it was said"));
    }
}
