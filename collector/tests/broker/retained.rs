//! What the broker keeps: retained messages and wills.

use pvewatch_edge::mqtt::{Closing, ConnectOptions, Message, PublishReason, SubscribeReason};

use crate::client::{
    SOON, anonymous, connect, message, open, publish, start_open, subscribe, will,
};

#[tokio::test]
async fn retained_messages_are_kept_replaced_and_removed() {
    let running = start_open().await;
    let broker = anonymous(&running);
    let mut there = connect(&broker, "there").await;
    for (topic, payload) in [("r/a", "1"), ("r/b", "2"), ("r/a", "3"), ("r/b", "")] {
        let kept = Message::new(topic, payload).retained();
        assert_eq!(publish(&mut there, kept).await, PublishReason::Success);
    }
    let mut here = connect(&broker, "here").await;
    assert_eq!(subscribe(&mut here, "r/+").await, SubscribeReason::Granted);
    let got = message(&mut here).await;
    assert_eq!((got.topic.as_str(), &got.payload[..], got.retained), ("r/a", &b"3"[..], true));
    // Nothing else was kept: the next message is a live one.
    publish(&mut there, Message::new("r/c", "live").retained()).await;
    let got = message(&mut here).await;
    assert_eq!((got.topic.as_str(), got.retained), ("r/c", false));
    running.stop(SOON).await;
}

#[tokio::test]
async fn a_will_comes_after_a_sudden_end_and_is_kept_but_not_after_a_goodbye() {
    let running = start_open().await;
    let broker = anonymous(&running);
    let mut here = connect(&broker, "here").await;
    subscribe(&mut here, "w/#").await;

    let polite = open(&broker, ConnectOptions::new("polite").will(will("w/polite"))).await.unwrap();
    assert_eq!(polite.close(SOON).await, Closing::Graceful);
    drop(open(&broker, ConnectOptions::new("rude").will(will("w/rude"))).await.unwrap());
    let got = message(&mut here).await;
    assert_eq!((got.topic.as_str(), &got.payload[..]), ("w/rude", &b"gone"[..]));
    assert_eq!(got.content_type.as_deref(), Some("application/json"));

    let mut late = connect(&broker, "late").await;
    subscribe(&mut late, "w/#").await;
    let got = message(&mut late).await;
    assert_eq!((got.topic.as_str(), got.retained), ("w/rude", true));
    running.stop(SOON).await;
}
