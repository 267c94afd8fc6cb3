//! Who is let in, and what they may say and hear.

use pvewatch_edge::mqtt::{
    Broker, ConnectOptions, Message, PublishReason, Secret, SubscribeReason,
};

use crate::client::{
    OWN, SOON, access, connect, message, open, publish, start_with_users, subscribe, will,
};

#[tokio::test]
async fn a_node_speaks_for_itself_alone_and_is_told_so() {
    let running = start_with_users().await;
    let mut node = connect(&access(&running, "pve1"), "pvewatch-agent-home-pve1").await;
    for (topic, expected) in [
        (format!("{OWN}/event/unit.changed"), PublishReason::Success),
        (format!("{OWN}/presence"), PublishReason::Success),
        ("pvewatch/v1/home/node/pve2/presence".to_owned(), PublishReason::NotAuthorized),
        (format!("{OWN}/ack/main"), PublishReason::NotAuthorized),
        ("pvewatch/v1/home/notice".to_owned(), PublishReason::NotAuthorized),
        (format!("{OWN}/sample"), PublishReason::Success),
    ] {
        assert_eq!(
            publish(&mut node, Message::new(&topic, "x").retained()).await,
            expected,
            "{topic}"
        );
    }
    for (filter, expected) in [
        (format!("{OWN}/ack/+"), SubscribeReason::Granted),
        ("pvewatch/v1/home/collector/+/presence".to_owned(), SubscribeReason::Granted),
        ("pvewatch/v1/home/node/pve2/ack/+".to_owned(), SubscribeReason::NotAuthorized),
        ("#".to_owned(), SubscribeReason::NotAuthorized),
    ] {
        assert_eq!(subscribe(&mut node, &filter).await, expected, "{filter}");
    }
    assert_eq!(running.denials(), 5);

    // Of what it tried to leave behind only its own is there; a reader sees it and is mute.
    let mut reader = connect(&access(&running, "bot"), "telegram").await;
    assert_eq!(subscribe(&mut reader, "pvewatch/#").await, SubscribeReason::Granted);
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let got = message(&mut reader).await;
        assert!(got.retained);
        seen.push(got.topic);
    }
    seen.sort();
    assert!(seen.iter().all(|topic| topic.starts_with(OWN)), "{seen:?}");
    let spoken = Message::new("pvewatch/v1/home/command", "x");
    assert_eq!(publish(&mut reader, spoken).await, PublishReason::NotAuthorized);

    // The collector itself may do all.
    let mut own = connect(&running.own_access(), "pvewatch-collector-home-main").await;
    assert_eq!(
        publish(&mut own, Message::new(format!("{OWN}/ack/main"), "1")).await,
        PublishReason::Success
    );
    let got = message(&mut node).await;
    assert_eq!((got.topic, &got.payload[..]), (format!("{OWN}/ack/main"), &b"1"[..]));
    running.stop(SOON).await;
}

#[tokio::test]
async fn strangers_and_impostors_are_not_let_in() {
    let running = start_with_users().await;
    let wrong = Broker::plain(running.url(), Some(("pve1".to_owned(), Secret::new("wrong"))));
    let unknown = Broker::plain(running.url(), Some(("pve9".to_owned(), Secret::new(""))));
    let nobody = Broker::plain(running.url(), None);
    let pve1 = access(&running, "pve1");
    let own_id = ConnectOptions::new("pvewatch-agent-home-pve1");
    let foreign_id = ConnectOptions::new("pvewatch-agent-home-pve2");
    let foreign_will = own_id.clone().will(will("pvewatch/v1/home/node/pve2/presence"));
    for (broker, options, reason) in [
        (&wrong, &own_id, "bad_user_name_or_password"),
        (&unknown, &own_id, "bad_user_name_or_password"),
        (&nobody, &own_id, "not_authorized"),
        (&pve1, &foreign_id, "not_authorized"),
        (&pve1, &foreign_will, "not_authorized"),
    ] {
        let error = open(broker, options.clone()).await.unwrap_err();
        assert_eq!(error.reason(), reason, "{error}");
    }
    let own_will = own_id.will(will(&format!("{OWN}/presence")));
    drop(open(&pve1, own_will).await.unwrap());
    running.stop(SOON).await;
}
