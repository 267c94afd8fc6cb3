//! Starts and stops rmqtt inside the collector.
//!
//! It has its own runtime, so that stopping it leaves no task behind and a flood of messages
//! does not take the collector's threads. It writes no files and handles no signals.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::time::Duration;

use pvewatch_edge::mqtt::{Broker, BrokerUrl, PAYLOAD_BYTES_MAX, Secret};
use pvewatch_protocol::Site;
use rmqtt::context::ServerContext;
use rmqtt::net::{Builder, Listener};
use rmqtt::server::MqttServer;
use rmqtt::types::{ListenerId, Message};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, timeout_at};
use tokio_rustls::TlsAcceptor;

use super::BrokerStartError;
use super::access::Role;
use super::front::{self, Peers};
use super::gate::{Gate, TlsGate};
use super::retained::{EXPIRY_INTERVAL, RETAINED_MAX, Retained};
use super::settings::BrokerListenSettings;
use super::users::Users;

/// The largest packet that is accepted, in bytes: the largest payload with topic and properties.
const PACKET_BYTES_MAX: u32 = (PAYLOAD_BYTES_MAX + 128 * 1024) as u32;
/// Messages that wait for one client. Beyond it the oldest is dropped (for QoS 0 the newest):
/// events are sent again by their agent, and of the rest the newest is wanted. All clients share
/// one copy of a payload, so the memory that slow clients cost is bounded by what was published
/// while they lagged; an entry itself costs some 300 bytes.
pub const QUEUE_MESSAGES_MAX: usize = 100_000;
/// Messages that may be unacknowledged on one connection, each way.
const IN_FLIGHT_MAX: NonZeroU16 = NonZeroU16::new(256).expect("not zero");
/// Clients at a time, for each listener. More are turned away.
pub const CONNECTIONS_MAX: usize = 20_000;
/// Connections that are being made at a time; more wait.
const HANDSHAKES_MAX: usize = 500;
/// How long a client may take to connect, and for TLS before that.
pub(super) const HANDSHAKE_LIMIT: Duration = Duration::from_secs(15);
/// How long a message without an expiry of its own waits for a client.
const MESSAGE_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);
/// Threads of the broker at most.
const THREADS_MAX: usize = 4;
/// How often a draining broker looks whether its queues are empty.
const DRAIN_INTERVAL: Duration = Duration::from_millis(5);

/// rmqtt's name for the listener without TLS.
const PLAIN: ListenerId = 1;
/// rmqtt's name for the listener behind TLS.
const BEHIND_TLS: ListenerId = 2;
/// The user as which the collector itself comes in.
const OWN_USER: &str = "pvewatch-collector";

/// Starts brokers.
#[derive(Debug)]
pub struct EmbeddedBroker;

/// A broker that runs. Dropping it cuts all connections at once.
pub struct Running {
    runtime: Option<Runtime>,
    context: ServerContext,
    accepting: Vec<JoinHandle<()>>,
    gate: Gate,
    own_password: Secret,
    plain: SocketAddr,
    tls: Option<SocketAddr>,
    /// rmqtt's listener behind TLS.
    behind_tls: Option<SocketAddr>,
}

impl EmbeddedBroker {
    /// Reads passwords and certificates, listens, and serves until the result is stopped.
    ///
    /// # Errors
    /// When an address cannot be used, a file cannot be read, or the settings would let
    /// strangers in.
    pub async fn start(
        settings: &BrokerListenSettings,
        site: &Site,
    ) -> Result<Running, BrokerStartError> {
        if settings.anonymous && !settings.listen.ip().is_loopback() {
            return Err(BrokerStartError::AnonymousForAll { address: settings.listen });
        }
        let mut users = Users::read(&settings.users)?;
        let own_password = Secret::random();
        if !users.add(OWN_USER, Role::Collector, Some(own_password.clone())) {
            return Err(BrokerStartError::UserTwice { name: OWN_USER.to_owned() });
        }
        let front = match &settings.tls {
            None => None,
            Some(tls) => Some(Front {
                listen: tls.listen,
                acceptor: front::prepare(tls)?,
                peers: Peers::default(),
                by_certificate: tls.client_ca.is_some(),
            }),
        };
        let tls = front.as_ref().map(|front| TlsGate {
            listener: BEHIND_TLS,
            peers: front.peers.clone(),
            by_certificate: front.by_certificate,
        });
        let gate = Gate::new(site.clone(), users, settings.anonymous, tls);

        let runtime = build_runtime().map_err(BrokerStartError::Threads)?;
        let started = runtime.spawn(serve(settings.clone(), front, gate.clone())).await;
        let served = match started {
            Ok(Ok(served)) => served,
            failed => {
                // A runtime must not be dropped where others are waited for.
                runtime.shutdown_background();
                return Err(match failed {
                    Ok(Err(error)) => error,
                    _ => BrokerStartError::Threads(io::Error::other("the broker's task ended")),
                });
            }
        };
        Ok(Running {
            runtime: Some(runtime),
            context: served.context,
            accepting: served.accepting,
            gate,
            own_password,
            plain: served.plain,
            tls: served.tls,
            behind_tls: served.behind_tls,
        })
    }
}

impl Running {
    /// Where MQTT without TLS is offered: the address that was bound, with its port.
    pub fn address(&self) -> SocketAddr {
        self.plain
    }

    /// Where MQTT with TLS is offered, if it is.
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls
    }

    /// The way in for programs on this machine, without TLS.
    ///
    /// # Panics
    /// Never: an address always makes a URL.
    pub fn url(&self) -> BrokerUrl {
        let host = match self.plain.ip() {
            ip if !ip.is_unspecified() => ip,
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        BrokerUrl::new(false, &host.to_string(), self.plain.port())
            .expect("an address with a port that was bound is a URL")
    }

    /// The broker as the collector itself reaches it: a user that exists for this run.
    pub fn own_access(&self) -> Broker {
        Broker::plain(self.url(), Some((OWN_USER.to_owned(), self.own_password.clone())))
    }

    /// Clients that are connected now.
    pub fn connections(&self) -> usize {
        usize::try_from(self.context.connections.count()).unwrap_or(0)
    }

    /// Connections, messages and subscriptions that were refused since the start.
    pub fn denials(&self) -> u64 {
        self.gate.denials()
    }

    /// Takes no more clients, waits until everything that was published has reached its
    /// subscribers, then cuts all connections. `limit` bounds the wait. Wills are not published:
    /// it is not the clients that go.
    pub async fn stop(mut self, limit: Duration) {
        for task in &self.accepting {
            task.abort();
        }
        let deadline = Instant::now() + limit;
        // What does not end in time is cut.
        let _ = timeout_at(deadline, drain(&self.context)).await;
        if let Some(runtime) = self.runtime.take() {
            let end = move || runtime.shutdown_timeout(limit);
            // If it fails the runtime has been dropped all the same.
            let _ = tokio::task::spawn_blocking(end).await;
        }
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running")
            .field("plain", &self.plain)
            .field("tls", &self.tls)
            .field("behind_tls", &self.behind_tls)
            .finish()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct Served {
    context: ServerContext,
    /// The tasks that take new clients.
    accepting: Vec<JoinHandle<()>>,
    plain: SocketAddr,
    tls: Option<SocketAddr>,
    behind_tls: Option<SocketAddr>,
}

/// TLS, ready to be served.
struct Front {
    listen: SocketAddr,
    acceptor: TlsAcceptor,
    peers: Peers,
    by_certificate: bool,
}

fn build_runtime() -> io::Result<Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.min(THREADS_MAX))
        .thread_name("broker")
        .enable_all()
        .build()
}

/// Runs on the broker's own runtime, where rmqtt leaves its tasks.
async fn serve(
    settings: BrokerListenSettings,
    front: Option<Front>,
    gate: Gate,
) -> Result<Served, BrokerStartError> {
    let context = ServerContext::new().busy_check_enable(false).build().await;
    gate.register(context.extends.hook_mgr()).await;
    let retained = Retained::new(RETAINED_MAX);
    *context.extends.retain_mut().await = Box::new(retained.clone());

    let plain = listener("plain", settings.listen).allow_anonymous(settings.anonymous);
    let plain = bind(plain)?;
    let plain_address = address(&plain, settings.listen)?;
    let mut server = MqttServer::new(context.clone()).listener_by_id(plain, PLAIN);
    let mut accepting = Vec::new();
    let (mut tls_address, mut inner_address) = (None, None);
    if let Some(front) = front {
        let inner = bind(listener("behind TLS", SocketAddr::from((Ipv4Addr::LOCALHOST, 0))))?;
        let behind = address(&inner, front.listen)?;
        inner_address = Some(behind);
        server = server.listener_by_id(inner, BEHIND_TLS);
        let outer = TcpListener::bind(front.listen).await;
        let outer = outer.map_err(|source| BrokerStartError::bind(front.listen, source))?;
        let bound = outer.local_addr();
        tls_address = Some(bound.map_err(|source| BrokerStartError::bind(front.listen, source))?);
        accepting.push(tokio::spawn(front::run(outer, front.acceptor, behind, front.peers)));
    }
    let server = server.build();
    accepting.push(tokio::spawn(async move {
        // It returns never, or when this task is aborted.
        if let Err(error) = server.run().await {
            log::error!("broker: {error:#}");
        }
    }));
    tokio::spawn(async move {
        let mut ticks = interval(EXPIRY_INTERVAL);
        loop {
            ticks.tick().await;
            retained.remove_expired().await;
        }
    });
    Ok(Served {
        context,
        accepting,
        plain: plain_address,
        tls: tls_address,
        behind_tls: inner_address,
    })
}

fn listener(name: &str, address: SocketAddr) -> Builder {
    Builder::new()
        .name(name)
        .laddr(address)
        // Else a restart would have to wait for the connections of the last run to be forgotten.
        .reuseaddr(Some(true))
        .nodelay(true)
        .allow_anonymous(false)
        .max_connections(CONNECTIONS_MAX)
        .max_handshaking_limit(HANDSHAKES_MAX)
        .handshake_timeout(HANDSHAKE_LIMIT)
        .max_packet_size(PACKET_BYTES_MAX)
        .max_mqueue_len(QUEUE_MESSAGES_MAX)
        .max_inflight(IN_FLIGHT_MAX)
        .message_expiry_interval(MESSAGE_LIMIT)
}

fn bind(builder: Builder) -> Result<Listener, BrokerStartError> {
    let address = builder.laddr;
    builder.bind().map_err(|error| BrokerStartError::bind(address, io_cause(error)))
}

fn address(listener: &Listener, wanted: SocketAddr) -> Result<SocketAddr, BrokerStartError> {
    listener.local_addr().map_err(|error| BrokerStartError::bind(wanted, io_cause(error)))
}

fn io_cause(error: rmqtt::Error) -> io::Error {
    match error.downcast::<io::Error>() {
        Ok(error) => error,
        Err(error) => io::Error::other(format!("{error:#}")),
    }
}

/// Waits until everything that was published has reached its subscribers.
async fn drain(context: &ServerContext) {
    let mut ticks = interval(DRAIN_INTERVAL);
    loop {
        ticks.tick().await;
        // A message that a session is just sending is in no queue: it is seen by the second look,
        // which comes after the session has done that.
        catch_up(context).await;
        if waiting(context).await == 0 {
            catch_up(context).await;
            if waiting(context).await == 0 {
                return;
            }
        }
    }
}

/// Waits until every session has taken in what was handed to it before now. That lies in a
/// channel which cannot be looked into, so each session is asked for an answer by the same way: a
/// request for no subscriptions at all.
async fn catch_up(context: &ServerContext) {
    let mut answers = Vec::new();
    {
        let shared = context.extends.shared().await;
        for session in shared.iter().filter_map(|entry| entry.tx()) {
            let (answer_in, answer) = oneshot::channel();
            if session.unbounded_send(Message::Subscribes(Vec::new(), Some(answer_in))).is_ok() {
                answers.push(answer);
            }
        }
    }
    for answer in answers {
        // A session that has ended answers no more, and has nothing to deliver.
        let _ = answer.await;
    }
}

/// Messages that have not reached their subscribers yet.
async fn waiting(context: &ServerContext) -> usize {
    let sessions: Vec<_> = {
        let shared = context.extends.shared().await;
        shared.iter().filter_map(|entry| entry.session()).collect()
    };
    let mut count = 0;
    for session in sessions {
        count += session.deliver_queue().len();
        count += session.out_inflight().read().await.len();
    }
    count
}

#[cfg(test)]
mod tests {
    use pvewatch_edge::mqtt::{ConnectOptions, Connection};

    use super::*;
    use crate::broker::{TlsListenSettings, UserSettings};

    /// Else every local user could be any node, or the collector, where certificates are asked.
    #[tokio::test]
    async fn nobody_comes_in_behind_tls_without_tls() {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let password = Secret::new("right");
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        for client_ca in [None, Some(cert.clone())] {
            let settings = BrokerListenSettings {
                listen: any,
                anonymous: true,
                tls: Some(TlsListenSettings {
                    listen: any,
                    cert: cert.clone(),
                    key: key.clone(),
                    client_ca,
                }),
                users: vec![UserSettings {
                    name: "pve1".to_owned(),
                    role: Role::Node,
                    password_file: None,
                    password: Some(password.clone()),
                }],
            };
            let running = EmbeddedBroker::start(&settings, &Site::default()).await.unwrap();
            let inner = running.behind_tls.unwrap();
            let url = BrokerUrl::new(false, "127.0.0.1", inner.port()).unwrap();
            for login in [None, Some(("pve1".to_owned(), password.clone()))] {
                let broker = Broker::plain(url.clone(), login);
                let options = ConnectOptions::new("test");
                let error = Connection::open(&broker, &url, &options).await.unwrap_err();
                assert_eq!(error.reason(), "not_authorized", "{error}");
            }
            running.stop(Duration::from_secs(5)).await;
        }
    }
}
