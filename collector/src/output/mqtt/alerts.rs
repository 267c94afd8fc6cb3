//! The channel of retained alerts: the broker has each alert as it is now.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use pvewatch_edge::mqtt::Message;
use pvewatch_protocol::{AlertMessage, AlertState, CollectorName, Fingerprint, Site, Topic, codec};
use tokio::sync::mpsc;

use super::retained::{Known, Retained, Wanted};
use super::{OutputError, Voice, pause_after};
use crate::core::Snapshot;
use crate::output::channel::{Channel, Step};
use crate::output::page::{Manner, Next, Page};
use crate::run::Queries;

/// How long a resolved alert is retained.
const RESOLVED_EXPIRY: Duration = Duration::from_secs(60 * 60);

#[derive(Debug)]
pub(super) struct Alerts {
    pub channel: Channel,
    pub site: Site,
    pub collector: CollectorName,
    pub queries: Queries,
}

impl Alerts {
    /// Publishes until the connection ends.
    pub(super) async fn speak(
        &mut self,
        mut voice: Voice,
        retained: &Retained,
        cleared: &mut mpsc::Receiver<Fingerprint>,
    ) -> OutputError {
        let mut to_reconcile = Some(retained);
        loop {
            let Err(error) = self.work(&mut voice, &mut to_reconcile, cleared).await else {
                continue;
            };
            if let Err(error) = pause_after(&self.channel, error).await {
                return error;
            }
        }
    }

    async fn work(
        &mut self,
        voice: &mut Voice,
        to_reconcile: &mut Option<&Retained>,
        cleared: &mut mpsc::Receiver<Fingerprint>,
    ) -> Result<(), OutputError> {
        // What is stored but not told goes first: it explains what is so now.
        if let Some(retained) = *to_reconcile
            && self.channel.is_up_to_date()
        {
            self.reconcile(voice, retained).await?;
            *to_reconcile = None;
            self.channel.works();
        }
        tokio::select! {
            steps = self.channel.next_steps() => self.publish_steps(voice, steps?).await,
            Some(fingerprint) = cleared.recv() => self.restore(voice, fingerprint).await,
        }
    }

    async fn publish_steps(
        &mut self,
        voice: &mut Voice,
        steps: Vec<Step>,
    ) -> Result<(), OutputError> {
        voice.heard.borrow_and_update();
        let mut page = Page::new(Manner::Alerts, steps);
        loop {
            match page.what_next() {
                Next::Send { transition, .. } => {
                    self.publish(voice, &transition.alert.message(&self.collector)).await?;
                    page.taken();
                }
                // A broker that passes on what it takes sends these alerts back: they are
                // subscribed.
                Next::Prove if voice.heard.changed().await.is_err() => {
                    // The session ends.
                    return std::future::pending().await;
                }
                Next::Prove => page.proved(),
                Next::Move(through) => {
                    self.channel.works();
                    self.channel.took(through);
                }
                Next::Nothing => return Ok(()),
            }
        }
    }

    /// Brings what is retained in line with what is so.
    async fn reconcile(&self, voice: &Voice, retained: &Retained) -> Result<(), OutputError> {
        let known = self.known().await;
        for wanted in retained.corrections(&known, &self.collector) {
            match wanted {
                Wanted::Published(message) => self.publish(voice, &message).await?,
                Wanted::Cleared(fingerprint) => {
                    log::info!("alert {fingerprint} is retained by the broker but over: cleared");
                    let topic = Topic::Alert { fingerprint }.at(&self.site);
                    voice.deliver(Message::new(topic, Vec::new()).retained()).await?;
                }
            }
        }
        Ok(())
    }

    /// Somebody took an alert back, a collector with a new store for example: if it fires here,
    /// it is there again.
    async fn restore(&self, voice: &Voice, fingerprint: Fingerprint) -> Result<(), OutputError> {
        let known = self.known().await;
        let message = known.alerts.get(&fingerprint).filter(|_| known.fires(fingerprint));
        if let Some(message) = message {
            self.publish(voice, message).await?;
        }
        Ok(())
    }

    async fn known(&self) -> Known {
        let snapshot: Arc<Snapshot> = self.queries.snapshot().await;
        let alerts: HashMap<Fingerprint, AlertMessage> = snapshot
            .alerts
            .iter()
            .map(|alert| (alert.fingerprint, alert.message(&self.collector)))
            .collect();
        // What has ended is told as resolved in a moment, unless it began again.
        let ended: HashSet<Fingerprint> = snapshot
            .alerts
            .iter()
            .filter(|alert| alert.has_ended(snapshot.at))
            .map(|alert| alert.fingerprint)
            .collect();
        let nodes = snapshot.nodes.iter().map(|view| view.node.name.to_string()).collect();
        Known { alerts, ended, nodes }
    }

    /// Publishes an alert.
    async fn publish(&self, voice: &Voice, alert: &AlertMessage) -> Result<(), OutputError> {
        let topic = Topic::Alert { fingerprint: alert.fingerprint }.at(&self.site);
        let message = Message::new(topic, codec::encode(alert)?);
        let message = message.retained().content_type("application/json");
        let message = match alert.state {
            AlertState::Firing => message,
            AlertState::Resolved => message.expiry(RESOLVED_EXPIRY),
            // A condition that may not last is nobody's business yet.
            AlertState::Pending => return Ok(()),
        };
        voice.deliver(message).await
    }
}
