//! systemd on a bus, played on a socket: the test decides what is said when.
//!
//! Knows the bus and nothing of the agent, so that the agent's whole program can be played to
//! as well. Absent: match rules; whoever connects hears everything.

use std::borrow::Cow;
use std::collections::HashMap;

use futures_util::StreamExt;
use tokio::net::UnixListener;
use zbus::message::Type;
use zbus::zvariant::{ObjectPath, Value};
use zbus::{Connection, Guid, Message, connection};

const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";
pub const LONG_AGO: u64 = 1_700_000_000_000_000;

/// One unit of the played systemd.
#[derive(Clone)]
pub struct Played {
    pub unit: Cow<'static, str>,
    pub active: &'static str,
    pub sub: &'static str,
    pub result: &'static str,
    pub changed_at: u64,
}

impl Played {
    pub fn runs(unit: impl Into<Cow<'static, str>>) -> Self {
        let unit = unit.into();
        Self { unit, active: "active", sub: "running", result: "success", changed_at: LONG_AGO }
    }

    pub fn failed(unit: impl Into<Cow<'static, str>>, changed_at: u64) -> Self {
        let unit = unit.into();
        Self { unit, active: "failed", sub: "failed", result: "exit-code", changed_at }
    }

    pub fn path(&self) -> String {
        let mut path = "/org/freedesktop/systemd1/unit/".to_owned();
        for byte in self.unit.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => path.push(char::from(byte)),
                other => path += &format!("_{other:02x}"),
            }
        }
        path
    }

    pub fn properties(&self, interface: &str) -> HashMap<&'static str, Value<'static>> {
        if interface == UNIT {
            HashMap::from([
                ("ActiveState", Value::from(self.active)),
                ("SubState", Value::from(self.sub)),
                ("LoadState", Value::from("loaded")),
                ("StateChangeTimestamp", Value::U64(self.changed_at)),
                ("InvocationID", Value::from(vec![7_u8; 16])),
                ("Job", Value::from((0_u32, ObjectPath::try_from("/").unwrap()))),
            ])
        } else {
            HashMap::from([
                ("Result", Value::from(self.result)),
                ("ExecMainCode", Value::I32(1)),
                ("ExecMainStatus", Value::I32(3)),
                ("NRestarts", Value::U32(0)),
            ])
        }
    }

    /// The two signals of a change, in systemd's order.
    pub fn signals(&self) -> [Message; 2] {
        [SERVICE, UNIT].map(|interface| {
            Message::signal(self.path(), "org.freedesktop.DBus.Properties", "PropertiesChanged")
                .unwrap()
                .build(&(interface, self.properties(interface), Vec::<&str>::new()))
                .unwrap()
        })
    }

    pub fn listed(&self) -> ListedFields {
        let path = ObjectPath::try_from(self.path()).unwrap();
        let none = ObjectPath::try_from("/").unwrap();
        let (unit, active, sub) = (self.unit.clone(), self.active, self.sub);
        (unit, "", "loaded", active, sub, "", path, 0, "", none)
    }
}

pub type ListedFields = (
    Cow<'static, str>,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    ObjectPath<'static>,
    u32,
    &'static str,
    ObjectPath<'static>,
);

/// What the played bus does, apart from answering.
#[derive(Clone, Default)]
pub struct Play {
    pub version: &'static str,
    pub units: Vec<Played>,
    /// Said after the listing was asked for and before it is answered.
    pub said_before_listing: Vec<Played>,
    /// Said after the listing was answered.
    pub said_after_listing: Vec<Played>,
    /// Said before the first ping is answered.
    pub said_before_pong: Vec<Played>,
    /// A method that gets no answer.
    pub silent_on: &'static str,
    /// Hang up after so many `GetAll` were answered; 0 is never.
    pub details_until_end: usize,
}

/// Plays the bus and systemd for one connection.
pub async fn play(listener: &UnixListener, mut play: Play) {
    let (stream, _) = listener.accept().await.unwrap();
    let mut calls = connection::Builder::unix_stream(stream)
        .server(Guid::generate())
        .unwrap()
        .p2p()
        .build_message_stream()
        .await
        .unwrap();
    let bus = Connection::from(&calls);
    let by_path: HashMap<String, Played> =
        play.units.iter().map(|unit| (unit.path(), unit.clone())).collect();
    while let Some(Ok(call)) = calls.next().await {
        if call.message_type() != Type::MethodCall {
            continue;
        }
        let header = call.header();
        let member = header.member().unwrap().to_string();
        if member == play.silent_on {
            continue;
        }
        match member.as_str() {
            "Hello" => bus.reply(&header, &":1.7").await.unwrap(),
            "Get" => bus.reply(&header, &Value::from(play.version)).await.unwrap(),
            "ListUnitsByPatterns" => {
                say(&bus, &play.said_before_listing).await;
                let listed: Vec<ListedFields> = play.units.iter().map(Played::listed).collect();
                bus.reply(&header, &listed).await.unwrap();
                say(&bus, &std::mem::take(&mut play.said_after_listing)).await;
            }
            "GetAll" => {
                let path = header.path().unwrap().as_str();
                let unit = by_path.get(path).unwrap();
                let (interface,): (String,) = call.body().deserialize().unwrap();
                bus.reply(&header, &unit.properties(&interface)).await.unwrap();
                play.details_until_end = play.details_until_end.wrapping_sub(1);
                if play.details_until_end == 0 {
                    return;
                }
            }
            "Ping" => {
                say(&bus, &std::mem::take(&mut play.said_before_pong)).await;
                bus.reply(&header, &()).await.unwrap();
            }
            _ => bus.reply(&header, &()).await.unwrap(),
        }
    }
}

pub async fn say(bus: &Connection, units: &[Played]) {
    for signal in units.iter().flat_map(Played::signals) {
        bus.send(&signal).await.unwrap();
    }
}

pub fn later(seconds: u64) -> u64 {
    // A failure is news if it is younger than the connection; the far future always is.
    LONG_AGO + 1_000_000_000_000_000 + seconds * 1_000_000
}
