//! The dry run: prints every message that would be published, a line each: topic, then payload.

use std::future::Future;
use std::pin::pin;

use pvewatch_protocol::event::{AgentFacts, AgentStarted};
use pvewatch_protocol::{
    Ack, AckMessage, CheckpointContent, CollectorName, Epoch, EventData, NodeName, Site, StreamId,
    codec,
};
use serde::Serialize;
use uuid::Uuid;

use crate::app::Inputs;
use crate::clock;
use crate::outbox::spool::{Limits, Opened, Owner, Spool};
use crate::outbox::{Answer, Outbox};
use crate::pictures::{self, Part};
use crate::samples;
use crate::source::{Fact, Report};

/// Prints until `stop` is ready or the sources are gone.
pub async fn run(
    site: Site,
    node: NodeName,
    limits: Limits,
    mut facts: AgentFacts,
    mut inputs: Inputs,
    stop: impl Future<Output = ()>,
) {
    let collectors = [CollectorName::default()];
    let stream = StreamId(Uuid::now_v7());
    let owner = Owner { site: site.clone(), node: node.clone() };
    let spool = Spool::in_memory(owner.clone(), limits, stream);
    let outbox = Outbox::new(owner, &collectors, spool, Opened::default());
    let epoch = Epoch(Uuid::now_v7());
    let mut printer = Printer { site, node, outbox, epoch };
    printer.event(EventData::AgentStarted(AgentStarted { facts: facts.clone() }));
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => return,
            report = inputs.reports.recv() => match report {
                Some(Report::Fact(fact)) => printer.fact(fact),
                Some(Report::Picture(content)) => printer.picture(content),
                Some(Report::Status(status)) => {
                    pictures::set_status(&mut facts, status);
                    printer.picture(CheckpointContent::Agent(facts.clone()));
                }
                Some(Report::AreKept(answer)) => {
                    // It is printed, and nothing is noted of a dry run. Whoever asked may be gone.
                    let _ = answer.send(());
                }
                None => return,
            },
            Ok(()) = inputs.readings.changed() => {
                let reading = inputs.readings.borrow_and_update().clone();
                if let Some(reading) = reading {
                    let sample = samples::complete(
                        reading, clock::today(), printer.epoch, inputs.sample_interval,
                        &printer.outbox,
                    );
                    let topic = samples::topic(&printer.site, &printer.node);
                    print_line(&topic, &sample);
                }
            }
        }
    }
}

struct Printer {
    site: Site,
    node: NodeName,
    outbox: Outbox,
    epoch: Epoch,
}

impl Printer {
    fn event(&mut self, data: EventData) {
        let today = clock::today();
        self.fact(Fact { time: today, recorded_time: today, data });
    }

    fn fact(&mut self, fact: Fact) {
        if let Err(error) = self.outbox.append(clock::now(), fact) {
            log::error!("an event is not sent: {error}");
        }
        while let Some(outgoing) = self.outbox.next_to_publish(clock::now(), clock::today()) {
            let topic = pictures::event_topic(&self.site, &self.node, &outgoing.kind);
            println!("{topic} {}", String::from_utf8_lossy(&outgoing.payload));
            self.outbox.on_puback(clock::now(), Answer::Taken);
        }
        // Nobody else will: without an ack the outbox would fill up.
        let position = self.outbox.position();
        let ack = Ack {
            collector_epoch: self.epoch,
            stream: position.stream,
            through: position.sequence,
        };
        let (now, today) = (clock::now(), clock::today());
        let (name, message) = (CollectorName::default(), AckMessage { ack, heard_at: None });
        self.outbox.on_ack_message(now, today, &name, message, false);
    }

    fn picture(&self, content: CheckpointContent) {
        for Part { topic, checkpoint } in
            pictures::parts(&self.site, &self.node, content, self.outbox.position(), clock::today())
        {
            print_line(&topic, &checkpoint);
        }
    }
}

fn print_line<T: Serialize>(topic: &str, payload: &T) {
    match codec::encode(payload) {
        Ok(bytes) => println!("{topic} {}", String::from_utf8_lossy(&bytes)),
        Err(error) => log::error!("{topic}: cannot be encoded: {error}"),
    }
}
