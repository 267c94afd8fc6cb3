//! A client that publishes as fast as the broker confirms, and costs little itself: what is
//! measured is what receives.
//!
//! It frames packets with rumqttc's codec and writes them to a socket in blocks, without an event
//! loop. Absent: coming back, TLS, and sending again; a run in which it loses its connection is
//! no measurement and ends.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use bytes::{Bytes, BytesMut};
use rumqttc::v5::mqttbytes::v5::{Connect, Packet, Publish, PublishProperties};
use rumqttc::v5::mqttbytes::{Error, QoS};

use super::traffic::Prepared;
use crate::deadline::GENEROUS;

/// Publishes that may wait for their PUBACK: less than what any broker takes at once, and four
/// times as many as an agent's, since a benchmark's connection carries more than an agent's.
pub const WINDOW: usize = 64;

/// Bytes that are collected before they are written.
const BLOCK_BYTES: usize = 32 * 1024;

/// A connection that publishes.
#[derive(Debug)]
pub struct Sender {
    stream: TcpStream,
    out: BytesMut,
    incoming: BytesMut,
    unconfirmed: usize,
    packet_id: u16,
}

impl Sender {
    /// Connects to a broker on this machine.
    ///
    /// # Panics
    /// When it refuses.
    #[track_caller]
    pub fn connect(port: u16, client_id: &str) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the broker listens");
        stream.set_nodelay(true).expect("a socket has options");
        stream.set_read_timeout(Some(GENEROUS)).expect("a socket has options");
        let mut this = Self {
            stream,
            out: BytesMut::new(),
            incoming: BytesMut::new(),
            unconfirmed: 0,
            packet_id: 0,
        };
        let connect = Connect {
            keep_alive: 0,
            client_id: client_id.to_owned(),
            clean_start: true,
            properties: None,
        };
        let connect = Packet::Connect(connect, None, None);
        connect.write(&mut this.out, None).expect("a packet of ours can be written");
        this.flush();
        match this.next_packet() {
            Packet::ConnAck(_) => this,
            other => panic!("the broker answers {other:?}"),
        }
    }

    /// Publishes; waits only while the window is full. See [`Sender::flush`].
    ///
    /// # Panics
    /// When the connection ends.
    #[track_caller]
    pub fn publish(&mut self, message: Prepared) {
        while message.confirmed && self.unconfirmed >= WINDOW {
            self.flush();
            self.take_confirmation();
        }
        let properties = PublishProperties {
            content_type: Some(message.content_type.to_owned()),
            ..PublishProperties::default()
        };
        let mut packet = Publish {
            qos: QoS::AtMostOnce,
            retain: message.retain,
            topic: Bytes::from(message.topic),
            payload: Bytes::from(message.payload),
            properties: Some(properties),
            ..Publish::default()
        };
        if message.confirmed {
            self.packet_id = self.packet_id % u16::MAX + 1;
            self.unconfirmed += 1;
            packet.qos = QoS::AtLeastOnce;
            packet.pkid = self.packet_id;
        }
        packet.write(&mut self.out).expect("a packet of ours can be written");
        if self.out.len() >= BLOCK_BYTES {
            self.flush();
        }
    }

    /// Writes what is collected.
    ///
    /// # Panics
    /// When the connection ends.
    #[track_caller]
    pub fn flush(&mut self) {
        self.stream.write_all(&self.out).expect("the broker takes what is sent");
        self.out.clear();
    }

    /// Writes what is collected, and waits until the broker has confirmed everything.
    ///
    /// # Panics
    /// When the connection ends.
    #[track_caller]
    pub fn finish(&mut self) {
        self.flush();
        while self.unconfirmed > 0 {
            self.take_confirmation();
        }
    }

    #[track_caller]
    fn take_confirmation(&mut self) {
        match self.next_packet() {
            Packet::PubAck(_) => self.unconfirmed -= 1,
            other => panic!("the broker sends {other:?} to who does not listen"),
        }
    }

    #[track_caller]
    fn next_packet(&mut self) -> Packet {
        let mut block = [0; 4096];
        loop {
            match Packet::read(&mut self.incoming, None) {
                Ok(packet) => return packet,
                Err(Error::InsufficientBytes(_)) => {}
                Err(error) => panic!("the broker sends no MQTT: {error}"),
            }
            let count = self.stream.read(&mut block).expect("the broker answers");
            assert!(count > 0, "the broker closed the connection");
            self.incoming.extend_from_slice(&block[..count]);
        }
    }
}
