//! A connection in use: order, answers, refusals, stalls, goodbye and sudden death.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod mosquitto;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::Duration;

use mosquitto::Mosquitto;
use pvewatch_edge::mqtt::{
    Broker, BrokerUrl, Closing, ConnectOptions, Connection, ConnectionLost, IN_FLIGHT_MAX,
    Incoming, Message, PAYLOAD_BYTES_MAX, PublishError, PublishReason, Received, SubscribeReason,
    Subscription, Will,
};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(200);

async fn open(broker: &Broker, name: &str) -> Connection {
    Connection::open(broker, &broker.urls()[0], &ConnectOptions::new(name)).await.unwrap()
}

async fn next(connection: &mut Connection) -> Incoming {
    timeout(SOON, connection.next()).await.expect("something comes in").unwrap()
}

async fn lost(connection: &mut Connection) -> ConnectionLost {
    let end = async {
        loop {
            if let Err(lost) = connection.next().await {
                return lost;
            }
        }
    };
    timeout(SOON, end).await.expect("the connection ends")
}

async fn message(connection: &mut Connection) -> Received {
    match next(connection).await {
        Incoming::Message(message) => message,
        other => panic!("a message was expected, not {other:?}"),
    }
}

/// Subscribes and waits for the broker's answer.
async fn subscribe(connection: &mut Connection, filter: &str) -> Vec<SubscribeReason> {
    let wanted = connection.client().subscribe(vec![Subscription::new(filter)]).await.unwrap();
    match next(connection).await {
        Incoming::Subscribed { ticket, reasons } if ticket == wanted => reasons,
        other => panic!("the answer to the subscription was expected, not {other:?}"),
    }
}

#[tokio::test]
async fn messages_arrive_in_order_with_their_properties() {
    let server = Mosquitto::open_to_all();
    let mut here = open(&server.broker(), "here").await;
    let mut there = open(&server.broker(), "there").await;
    assert_eq!(subscribe(&mut here, "a/#").await, [SubscribeReason::Granted]);

    let client = there.client();
    let mut first = Message::new("a/0", "x").content_type("text/plain").expiry(SOON);
    first.response_topic = Some("answer".to_owned());
    first.correlation_data = Some("7".into());
    let mut tickets = vec![client.publish(first).await.unwrap()];
    tickets.push(client.publish(Message::new("a/1", "").at_most_once()).await.unwrap());
    tickets.push(client.publish(Message::new("a/2", vec![7; PAYLOAD_BYTES_MAX])).await.unwrap());

    let got = message(&mut here).await;
    assert_eq!((got.topic.as_str(), &got.payload[..], got.retained), ("a/0", &b"x"[..], false));
    assert_eq!(got.content_type.as_deref(), Some("text/plain"));
    assert_eq!(got.response_topic.as_deref(), Some("answer"));
    assert_eq!(got.correlation_data.as_deref(), Some(&b"7"[..]));
    assert_eq!(message(&mut here).await.topic, "a/1");
    assert_eq!(message(&mut here).await.payload.len(), PAYLOAD_BYTES_MAX);
    for ticket in [tickets[0], tickets[2]] {
        let reason = PublishReason::Success;
        assert_eq!(next(&mut there).await, Incoming::PublishAcked { ticket, reason });
    }
}

#[tokio::test]
async fn what_can_never_be_sent_is_refused_and_the_connection_lives_on() {
    let server = Mosquitto::start("allow_anonymous true\nmax_packet_size 5000", &[]);
    let here = open(&server.broker(), "here").await;
    let client = here.client();
    for topic in ["", "a/+", "#", "a\0b"] {
        let error = client.publish(Message::new(topic, "")).await.unwrap_err();
        assert_eq!(error, PublishError::Topic(topic.to_owned()));
    }
    let error = client.subscribe(vec![Subscription::new("a/#/b")]).await.unwrap_err();
    assert_eq!(error, PublishError::Topic("a/#/b".to_owned()));
    // The broker's own limit is known from its answer to the connection.
    let error = client.publish(Message::new("a", vec![0; 5000])).await.unwrap_err();
    let text = "a: a packet of 5009 bytes is more than the 5000 that the broker takes";
    assert_eq!(error.to_string(), text);
    assert_eq!(here.close(SOON).await, Closing::Graceful);
    assert_eq!(client.publish(Message::new("a", "")).await, Err(PublishError::Closed));
}

#[tokio::test]
async fn a_packet_may_be_as_large_as_the_broker_says_and_not_a_byte_larger() {
    let server = Mosquitto::start("allow_anonymous true\nmax_packet_size 5000", &[]);
    let mut here = open(&server.broker(), "here").await;
    let client = here.client();
    // One byte of type, two of length; topic, identifier; the properties with their length.
    let others = 1 + 2 + (2 + 1) + 2 + 1 + (1 + 2 + 10);
    for (more, is_taken) in [(0, true), (1, false)] {
        let payload = vec![0; 5000 - others + more];
        let result = client.publish(Message::new("a", payload).content_type("text/plain")).await;
        assert_eq!(result.is_ok(), is_taken, "{result:?}");
        if let Ok(ticket) = result {
            let reason = PublishReason::NoMatchingSubscribers;
            assert_eq!(next(&mut here).await, Incoming::PublishAcked { ticket, reason });
        }
    }
}

#[tokio::test]
async fn a_message_larger_than_the_contract_never_reaches_a_subscriber() {
    let server = Mosquitto::open_to_all();
    let mut here = open(&server.broker(), "here").await;
    subscribe(&mut here, "a").await;
    let folder = tempfile::tempdir().unwrap();
    let large = folder.path().join("large");
    std::fs::write(&large, vec![b'x'; 10_000_000]).unwrap();
    for arguments in [vec!["-f", large.to_str().unwrap()], vec!["-m", "small"]] {
        let port = server.port.to_string();
        let sent = std::process::Command::new("mosquitto_pub")
            .args(["-h", "127.0.0.1", "-p", &port, "-q", "1", "-t", "a"])
            .args(arguments)
            .status()
            .unwrap();
        assert!(sent.success());
    }
    assert_eq!(&message(&mut here).await.payload[..], b"small");
}

#[tokio::test]
async fn the_broker_says_whether_anybody_is_subscribed() {
    let server = Mosquitto::open_to_all();
    let mut here = open(&server.broker(), "here").await;
    let ticket = here.client().publish(Message::new("a", "")).await.unwrap();
    let reason = PublishReason::NoMatchingSubscribers;
    assert_eq!(next(&mut here).await, Incoming::PublishAcked { ticket, reason });
}

/// rumqttc stops for ever when a refused message held an identifier that the next one needs;
/// subscriptions take identifiers too, so the two are mixed here over several rounds of them.
#[tokio::test]
async fn refused_messages_are_answered_one_by_one_and_block_nothing() {
    let acl = "topic write allowed\ntopic read allowed\n";
    let config = "allow_anonymous true\nacl_file {dir}/acl";
    let server = Mosquitto::start(config, &[("acl", acl)]);
    let mut here = open(&server.broker(), "here").await;
    let client = here.client();
    let asking = tokio::spawn(async move {
        let mut asked = Vec::new();
        for round in 0..10 * usize::from(IN_FLIGHT_MAX) {
            if round % 5 == 0 {
                let filters = vec![Subscription::new("allowed"), Subscription::new("other")];
                asked.push((client.subscribe(filters).await.unwrap(), None));
            }
            let topic = if round % 7 == 0 { "allowed" } else { "denied" };
            let ticket = client.publish(Message::new(topic, "")).await.unwrap();
            asked.push((ticket, Some(topic)));
        }
        asked
    });
    let (mut published, mut subscribed) = (Vec::new(), Vec::new());
    while published.len() < 10 * usize::from(IN_FLIGHT_MAX) {
        match next(&mut here).await {
            Incoming::Message(message) => assert_eq!(message.topic, "allowed"),
            Incoming::PublishAcked { ticket, reason } => published.push((ticket, reason)),
            Incoming::Subscribed { ticket, .. } => subscribed.push(ticket),
        }
    }
    let asked = asking.await.unwrap();
    let messages = asked.iter().filter_map(|(ticket, topic)| Some((*ticket, (*topic)?)));
    for ((ticket, topic), (answered, reason)) in messages.zip(&published) {
        assert_eq!(ticket, *answered);
        match topic {
            "denied" => assert_eq!(*reason, PublishReason::NotAuthorized),
            _ => assert_eq!(*reason, PublishReason::Success),
        }
    }
    let filters = asked.iter().filter(|(_, topic)| topic.is_none()).map(|(ticket, _)| *ticket);
    assert_eq!(subscribed, filters.collect::<Vec<_>>());
}

#[tokio::test]
async fn a_delivery_waits_for_the_brokers_word() {
    let server = Mosquitto::open_to_all();
    let mut here = open(&server.broker(), "here").await;
    let client = here.client();
    let delivery = client.deliver(Message::new("a", ""));
    tokio::pin!(delivery);
    let reason = tokio::select! {
        reason = &mut delivery => reason,
        other = here.next() => panic!("nothing comes in for a delivery: {other:?}"),
    };
    assert_eq!(reason, Ok(PublishReason::NoMatchingSubscribers));
}

#[tokio::test]
async fn next_can_be_given_up_without_losing_anything() {
    let server = Mosquitto::open_to_all();
    let mut here = open(&server.broker(), "here").await;
    subscribe(&mut here, "a").await;
    let there = open(&server.broker(), "there").await;
    let client = there.client();
    let sending = tokio::spawn(async move {
        for count in 0..2000_u32 {
            client.publish(Message::new("a", count.to_string())).await.unwrap();
        }
    });
    let mut there = there;
    let draining = tokio::spawn(async move { while there.next().await.is_ok() {} });
    let mut expected = 0;
    while expected < 2000 {
        tokio::select! {
            biased;
            got = here.next() => {
                let Incoming::Message(got) = got.unwrap() else { continue };
                assert_eq!(&got.payload[..], expected.to_string().as_bytes());
                expected += 1;
            }
            // Always ready: `next` is dropped each time it has nothing at once.
            () = tokio::task::yield_now() => {}
        }
    }
    sending.await.unwrap();
    draining.abort();
}

#[tokio::test]
async fn closing_delivers_everything_and_keeps_the_will_back() {
    let server = Mosquitto::open_to_all();
    let mut here = open(&server.broker(), "here").await;
    subscribe(&mut here, "a/#").await;
    let broker = server.broker();
    let will = Will {
        topic: "a/will".to_owned(),
        payload: "gone".into(),
        retain: true,
        content_type: Some("text/plain".to_owned()),
    };
    let options = ConnectOptions::new("there").will(will);
    let there = Connection::open(&broker, &broker.urls()[0], &options).await.unwrap();
    let client = there.client();
    for count in 0..40 {
        client.publish(Message::new("a/b", count.to_string())).await.unwrap();
    }
    assert_eq!(there.close(SOON).await, Closing::Graceful);
    for count in 0..40 {
        let got = message(&mut here).await;
        assert_eq!((got.topic.as_str(), &got.payload[..]), ("a/b", count.to_string().as_bytes()));
    }

    // Dropped without a goodbye, the will comes; nothing of the first connection came before.
    drop(Connection::open(&broker, &broker.urls()[0], &options).await.unwrap());
    let got = message(&mut here).await;
    assert_eq!((got.topic.as_str(), &got.payload[..]), ("a/will", &b"gone"[..]));
    assert_eq!(got.content_type.as_deref(), Some("text/plain"));

    let mut late = open(&broker, "late").await;
    late.client().subscribe(vec![Subscription::new("a/will")]).await.unwrap();
    loop {
        if let Incoming::Message(got) = next(&mut late).await {
            assert!(got.retained);
            break;
        }
    }
}

#[tokio::test]
async fn a_second_client_of_the_same_name_ends_the_first() {
    let server = Mosquitto::open_to_all();
    let mut first = open(&server.broker(), "same").await;
    let _second = open(&server.broker(), "same").await;
    // Mosquitto 2.0.11 closes without a word.
    let end = lost(&mut first).await;
    assert!(end.to_string().contains("same client identifier"), "{end}");
    assert_eq!(lost(&mut first).await, end);
    assert_eq!(first.close(SOON).await, Closing::Lost(end));
}

#[tokio::test]
async fn a_goodbye_of_the_broker_is_understood() {
    let (taken_over, shutting_down) = (0x8e, 0x8b);
    for (code, end) in
        [(taken_over, ConnectionLost::TakenOver), (shutting_down, ConnectionLost::ShuttingDown)]
    {
        let server = MuteBroker::start_with(vec![0xe0, 0x02, code, 0x00]);
        let mut here = open_short(&server.url, SOON, None).await;
        assert_eq!(lost(&mut here).await, end);
    }
}

#[tokio::test]
async fn a_broker_that_is_killed_ends_the_connection_at_once() {
    let mut server = Mosquitto::open_to_all();
    let mut here = open(&server.broker(), "here").await;
    let client = here.client();
    let delivery = tokio::spawn({
        let client = client.clone();
        async move { while client.deliver(Message::new("a", "")).await.is_ok() {} }
    });
    server.kill();
    assert!(matches!(lost(&mut here).await, ConnectionLost::Broken { .. }));
    delivery.await.unwrap();
    assert_eq!(client.publish(Message::new("a", "")).await, Err(PublishError::Closed));
}

/// Lets one client in and then says nothing, until it is dropped.
struct MuteBroker {
    url: BrokerUrl,
    _serving: mpsc::Sender<()>,
}

impl MuteBroker {
    /// Reads on after the first packet if `reads`.
    fn start(reads: bool) -> Self {
        Self::serve(reads, Vec::new())
    }

    /// Says one thing more after it has let the client in.
    fn start_with(packet: Vec<u8>) -> Self {
        Self::serve(true, packet)
    }

    fn serve(reads: bool, packet: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (serving, dropped) = mpsc::channel();
        std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut buffer = [0; 4096];
            assert!(stream.read(&mut buffer).unwrap() > 0);
            // CONNACK: no session, success, no properties.
            stream.write_all(&[0x20, 0x03, 0x00, 0x00, 0x00]).unwrap();
            stream.write_all(&packet).unwrap();
            if reads {
                while stream.read(&mut buffer).unwrap_or(0) > 0 {}
            }
            // Nobody sends: it returns when the other end is dropped.
            dropped.recv().unwrap_err();
        });
        Self { url: BrokerUrl::new(false, "127.0.0.1", port).unwrap(), _serving: serving }
    }
}

async fn open_short(url: &BrokerUrl, answer: Duration, silence: Option<Duration>) -> Connection {
    let broker = Broker::plain(url.clone(), None);
    let mut options = ConnectOptions::new("here");
    options.limits.answer = answer;
    options.limits.silence = silence;
    Connection::open(&broker, &broker.urls()[0], &options).await.unwrap()
}

#[tokio::test]
async fn a_broker_that_acknowledges_nothing_is_given_up() {
    let server = MuteBroker::start(true);
    let mut here = open_short(&server.url, SHORT, None).await;
    here.client().publish(Message::new("a", "")).await.unwrap();
    assert_eq!(lost(&mut here).await, ConnectionLost::NotAcknowledged { limit: SHORT });
}

#[tokio::test]
async fn a_broker_that_is_never_heard_is_given_up() {
    let server = MuteBroker::start(true);
    let mut here = open_short(&server.url, SOON, Some(SHORT)).await;
    assert_eq!(lost(&mut here).await, ConnectionLost::Silent { limit: SHORT });
}

/// Writing blocks here, and rumqttc has no limit for that.
#[tokio::test]
async fn a_broker_that_stops_reading_is_given_up() {
    let server = MuteBroker::start(false);
    let mut here = open_short(&server.url, SHORT, None).await;
    let client = here.client();
    let sending = tokio::spawn(async move {
        let large = Message::new("a", vec![0; PAYLOAD_BYTES_MAX]);
        while client.publish(large.clone()).await.is_ok() {}
    });
    assert_eq!(lost(&mut here).await, ConnectionLost::NotAcknowledged { limit: SHORT });
    sending.await.unwrap();
}

#[tokio::test]
async fn closing_a_stalled_connection_keeps_to_its_limit() {
    let server = MuteBroker::start(true);
    let here = open_short(&server.url, SOON, None).await;
    here.client().publish(Message::new("a", "")).await.unwrap();
    assert_eq!(timeout(SOON, here.close(SHORT)).await, Ok(Closing::TimedOut));
}
