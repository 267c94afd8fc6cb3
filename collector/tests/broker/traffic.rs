//! Messages, from clients of all kinds, in order, until the end.

use std::process::{Command, Stdio};

use pvewatch_collector::broker::BrokerListenSettings;
use pvewatch_edge::mqtt::{
    ConnectOptions, Incoming, Message, PAYLOAD_BYTES_MAX, PublishReason, SubscribeReason,
};
use tokio::time::timeout;

use crate::client::{
    SOON, anonymous, connect, lost, message, next, open, publish, start, start_open, subscribe,
    will,
};

#[tokio::test]
async fn messages_reach_subscribers_with_their_properties() {
    let running = start_open().await;
    let mut here = connect(&anonymous(&running), "here").await;
    let mut there = connect(&anonymous(&running), "there").await;
    assert_eq!(subscribe(&mut here, "a/#").await, SubscribeReason::Granted);
    let mut first = Message::new("a/b", "x").content_type("text/plain").expiry(SOON);
    first.response_topic = Some("answer".to_owned());
    first.correlation_data = Some("7".into());
    assert_eq!(publish(&mut there, first).await, PublishReason::Success);
    let large = Message::new("a/large", vec![7; PAYLOAD_BYTES_MAX]);
    assert_eq!(publish(&mut there, large).await, PublishReason::Success);

    let got = message(&mut here).await;
    assert_eq!((got.topic.as_str(), &got.payload[..], got.retained), ("a/b", &b"x"[..], false));
    assert_eq!(got.content_type.as_deref(), Some("text/plain"));
    assert_eq!(got.response_topic.as_deref(), Some("answer"));
    assert_eq!(got.correlation_data.as_deref(), Some(&b"7"[..]));
    assert_eq!(message(&mut here).await.payload.len(), PAYLOAD_BYTES_MAX);
    running.stop(SOON).await;
}

#[tokio::test]
async fn a_second_client_of_the_same_name_ends_the_first() {
    let running = start_open().await;
    let broker = anonymous(&running);
    let mut here = connect(&broker, "here").await;
    subscribe(&mut here, "w").await;
    let mut first = open(&broker, ConnectOptions::new("same").will(will("w"))).await.unwrap();
    let second = connect(&broker, "same").await;
    let end = lost(&mut first).await;
    assert!(end.to_string().contains("same client identifier"), "{end:?}");
    // The first one's will comes at once, although its successor is there.
    assert_eq!(message(&mut here).await.topic, "w");
    drop(second);
    running.stop(SOON).await;
}

#[tokio::test]
async fn a_stop_frees_the_port_ends_the_connections_and_publishes_no_wills() {
    let running = start_open().await;
    let (address, broker) = (running.address(), anonymous(&running));
    let mut here = connect(&broker, "here").await;
    subscribe(&mut here, "#").await;
    let there = open(&broker, ConnectOptions::new("there").will(will("w"))).await.unwrap();
    for count in 0..100 {
        there.client().publish(Message::new("a", count.to_string())).await.unwrap();
    }
    // Acknowledged means that the broker has them.
    let mut there = there;
    for _ in 0..100 {
        next(&mut there).await;
    }
    running.stop(SOON).await;
    let mut seen = Vec::new();
    while let Ok(incoming) = timeout(SOON, here.next()).await.unwrap() {
        if let Incoming::Message(message) = incoming {
            seen.push(message.topic);
        }
    }
    assert_eq!(seen, vec!["a"; 100]);
    lost(&mut there).await;
    let again = BrokerListenSettings { listen: address, anonymous: true, ..Default::default() };
    let running = start(again).await;
    assert_eq!(running.address(), address);
    running.stop(SOON).await;
}

#[tokio::test]
async fn other_programs_are_served() {
    let running = start_open().await;
    let port = running.address().port().to_string();
    let mosquitto = |program: &str| {
        let mut command = Command::new(program);
        command.args(["-h", "127.0.0.1", "-p", &port, "-q", "1", "-t", "m/1"]);
        command
    };
    for version in ["mqttv311", "mqttv5"] {
        let sent = mosquitto("mosquitto_pub").args(["-V", version, "-r", "-m", version]).status();
        assert!(sent.unwrap().success());
        let got = tokio::task::spawn_blocking({
            let mut command = mosquitto("mosquitto_sub");
            command.args(["-V", version, "-C", "1", "-W", "10", "-F", "%r %p"]);
            command.stdout(Stdio::piped());
            move || command.output().unwrap()
        });
        let got = got.await.unwrap();
        assert_eq!(String::from_utf8(got.stdout).unwrap(), format!("1 {version}\n"));
    }
    running.stop(SOON).await;
}

/// A payload that is larger than the contract is the sender's fault and nobody else's.
#[tokio::test]
async fn a_message_that_is_too_large_ends_its_senders_connection_only() {
    let running = start_open().await;
    let port = running.address().port().to_string();
    let mut here = connect(&anonymous(&running), "here").await;
    subscribe(&mut here, "a").await;
    let folder = tempfile::tempdir().unwrap();
    let large = folder.path().join("large");
    std::fs::write(&large, vec![b'x'; 10_000_000]).unwrap();
    let sent = tokio::task::spawn_blocking(move || {
        Command::new("mosquitto_pub")
            .args(["-h", "127.0.0.1", "-p", &port, "-q", "1", "-V", "mqttv311", "-t", "a", "-f"])
            .arg(large)
            .stderr(Stdio::null())
            .status()
            .unwrap()
    });
    assert!(!sent.await.unwrap().success());
    let mut there = connect(&anonymous(&running), "there").await;
    publish(&mut there, Message::new("a", "small")).await;
    assert_eq!(&message(&mut here).await.payload[..], b"small");
    running.stop(SOON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_messages_arrive_in_order() {
    const COUNT: u32 = 100_000;
    let running = start_open().await;
    let broker = anonymous(&running);
    let mut here = connect(&broker, "here").await;
    subscribe(&mut here, "a").await;
    let mut there = connect(&broker, "there").await;
    let client = there.client();
    let sending = tokio::spawn(async move {
        for count in 0..COUNT {
            client.publish(Message::new("a", format!("{count:0400}"))).await.unwrap();
        }
    });
    let acknowledged = tokio::spawn(async move {
        for _ in 0..COUNT {
            let incoming = there.next().await.unwrap();
            assert!(matches!(
                incoming,
                Incoming::PublishAcked { reason: PublishReason::Success, .. }
            ));
        }
    });
    for count in 0..COUNT {
        let got = message(&mut here).await;
        assert_eq!(got.payload, format!("{count:0400}"));
    }
    sending.await.unwrap();
    acknowledged.await.unwrap();
    running.stop(SOON).await;
}
