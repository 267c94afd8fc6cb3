//! What the nodes talk to: a broker, and the collector with its store on a disk of its own.

use std::fs;
use std::path::{Path, PathBuf};

use super::clock::Clock;
use super::disk::Disk;
use super::fault::Place;
use super::keeper::Keeper;
use super::network::{address, command_in};
use crate::bench::middle::Via;
use crate::certificates::{Authority, Validity};
use crate::places::checkout;

/// Room for the events of hours.
const DISK_BYTES: u64 = 16 << 30;

/// Everybody has network of their own, so ports are free.
const MQTT_PORT: u16 = 8883;
const HTTP_PORT: u16 = 8420;

/// The address that agents and the collector find the broker at.
pub fn broker_url(via: Via) -> String {
    format!("mqtts://{}:{MQTT_PORT}", broker_address(via))
}

/// The address in the broker's certificate.
pub fn broker_address(via: Via) -> String {
    address(match via {
        Via::Mosquitto => Place::Broker,
        Via::Embedded => Place::Collector,
    })
}

/// Mosquitto as it is shipped to be set up, but without keeping anything on disk.
///
/// # Panics
/// When its files cannot be written.
#[track_caller]
pub fn mosquitto(folder: &Path, authority: &Authority) -> Keeper {
    let folder = folder.join("mosquitto");
    let shipped = checkout().join("packaging/mosquitto");
    let read = |name: &str| fs::read_to_string(shipped.join(name)).expect("it is shipped");
    let identity = authority.server_at(&[&broker_address(Via::Mosquitto)], Validity::Valid);
    let mut text = read("mosquitto.conf");
    for (from, to) in [
        ("/etc/mosquitto/certs/ca.crt", authority.certificate()),
        ("/etc/mosquitto/certs/broker.crt", &identity.certificate),
        ("/etc/mosquitto/certs/broker.key", &identity.key),
        ("/etc/mosquitto/pvewatch.acl", &folder.join("acl")),
    ] {
        text = text.replace(from, &to.display().to_string());
    }
    text += "\nuser root\npersistence false\nlog_dest stderr\n";
    fs::create_dir(&folder).expect("the run's folder can be written");
    fs::write(folder.join("acl"), read("acl")).expect("the run's folder can be written");
    let configuration = folder.join("mosquitto.conf");
    fs::write(&configuration, text).expect("the run's folder can be written");
    let mut command = command_in(Place::Broker);
    command.arg("mosquitto").arg("-c").arg(configuration);
    Keeper::new("mosquitto", &folder, command)
}

/// The collector, and the embedded broker in it.
#[derive(Debug)]
pub struct Collector {
    /// The program.
    pub keeper: Keeper,
    /// The file system of its store.
    pub disk: Disk,
    /// Its clock.
    pub clock: Clock,
}

impl Collector {
    /// Sets it up; it does not run yet.
    ///
    /// # Panics
    /// When its files cannot be made.
    #[track_caller]
    pub fn new(folder: &Path, program: &Path, via: Via, authority: &Authority) -> Self {
        let folder = folder.join("collector");
        fs::create_dir(&folder).expect("the run's folder can be written");
        let disk = Disk::make(&folder.join("disk"), DISK_BYTES);
        let clock = Clock::right(&folder.join("clock"));
        let ca = authority.certificate();
        let broker = match via {
            Via::Mosquitto => {
                let identity = authority.client("collector", Validity::Valid);
                let (url, cert, key) = (broker_url(via), identity.certificate, identity.key);
                format!("[broker]\nurl = {url:?}\nca = {ca:?}\ncert = {cert:?}\nkey = {key:?}\n")
            }
            Via::Embedded => {
                let identity = authority.server_at(&[&broker_address(via)], Validity::Valid);
                let (cert, key) = (identity.certificate, identity.key);
                format!(
                    "[embedded_broker]\nlisten = \"127.0.0.1:1883\"\n\
                     [embedded_broker.tls]\nlisten = \"0.0.0.0:{MQTT_PORT}\"\n\
                     cert = {cert:?}\nkey = {key:?}\nclient_ca = {ca:?}\n"
                )
            }
        };
        // Nothing is thrown away: what is judged must be there.
        let text = format!(
            "data = {:?}\n{broker}[http]\nlisten = \"0.0.0.0:{HTTP_PORT}\"\n\
             [retention]\nevents_max = 100000000\nsize_max = \"1024GiB\"\n",
            disk.folder().join("data")
        );
        let configuration = folder.join("collector.toml");
        fs::write(&configuration, text).expect("the run's folder can be written");
        let mut command = command_in(Place::Collector);
        command.arg(program).arg("--config").arg(configuration);
        clock.give_to(&mut command);
        Self { keeper: Keeper::new("collector", &folder, command), disk, clock }
    }

    /// The folder of its store.
    pub fn data(&self) -> PathBuf {
        self.disk.folder().join("data")
    }

    /// The address of a path of its.
    pub fn url(path: &str) -> String {
        format!("http://{}:{HTTP_PORT}{path}", address(Place::Collector))
    }
}
