//! The agent beside the collector, on a thread of its own: it is made for one.

use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::Duration;

use pvewatch_agent::app::{self, Overrides, Settings};
use pvewatch_agent::config::Config;
use pvewatch_edge::explain;
use pvewatch_edge::mqtt::{Broker, BrokerUrl, Secret};
use pvewatch_protocol::NodeName;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::UpError;

/// How long the agent may take to say goodbye: each half of it has 3 s.
const GOODBYE_MAX: Duration = Duration::from_secs(8);

/// The settings of an agent for this machine, which keeps its events below `data`; the broker is
/// not known yet.
///
/// # Errors
/// When this host's name cannot be a node's.
pub fn settings(node: Option<NodeName>, data: &Path) -> Result<Settings, UpError> {
    let overrides = Overrides { node, ..Overrides::default() };
    let mut config = Config::default();
    config.outbox.directory = Some(data.join("spool"));
    Settings::from_config(config, overrides, false)
        .map_err(|error| UpError::Agent(format!("{} (here: --node NAME)", explain(error.as_ref()))))
}

/// An agent that runs.
pub struct AgentThread {
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<String>,
}

impl AgentThread {
    /// Starts an agent that publishes to the broker at `mqtt`.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(
        mut settings: Settings,
        mqtt: SocketAddr,
        password: Secret,
    ) -> Result<Self, UpError> {
        let wrong = |error: &dyn std::fmt::Display| UpError::Agent(error.to_string());
        let url = BrokerUrl::new(false, &mqtt.ip().to_string(), mqtt.port())
            .map_err(|error| wrong(&error))?;
        let user = settings.node.to_string();
        settings.broker = Some(Broker::plain(url, Some((user, password))));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| wrong(&error))?;
        let (stop, stopped) = oneshot::channel::<()>();
        let (ended_in, ended) = oneshot::channel();
        let work = move || {
            let stopped = async {
                // A sender that is gone means the same.
                let _ = stopped.await;
            };
            let why = match runtime.block_on(app::run(settings, stopped)) {
                Ok(()) => "nothing is wrong".to_owned(),
                Err(error) => explain(error.as_ref()),
            };
            // Nobody waits for the end any more.
            let _ = ended_in.send(why);
        };
        thread::Builder::new()
            .name("pvewatch-agent".to_owned())
            .spawn(work)
            .map_err(|error| wrong(&error))?;
        Ok(Self { stop, ended })
    }

    /// Waits until the agent has ended by itself, and says why.
    pub async fn ended(&mut self) -> String {
        match (&mut self.ended).await {
            Ok(why) => why,
            Err(_) => "this is a fault of pvewatch, please report".to_owned(),
        }
    }

    /// Lets the agent say goodbye.
    pub async fn stop(mut self) {
        // It has ended already if nobody takes the word.
        let _ = self.stop.send(());
        if !self.ended.is_terminated() && timeout(GOODBYE_MAX, &mut self.ended).await.is_err() {
            log::warn!("the agent did not say goodbye within {} s", GOODBYE_MAX.as_secs());
        }
    }
}
