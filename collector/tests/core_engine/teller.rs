//! What a story's node says: lines of text become inputs.

use jiff::Timestamp;
use pvewatch_collector::core::Input;
use pvewatch_collector::fleet::{Backlog, Version};
use pvewatch_protocol::event::{
    AgentFacts, AgentStarted, AgentStopping, BackupFinished, BackupJobFinished, BackupStarted,
    CrashLoop, Exit, LogLine, OutboxDropped, Outcome, SourceStatus, TaskFinished, UnitChange,
    UnitChanged, UnitLog, UnitRemoved, UnitState,
};
use pvewatch_protocol::sample::{AgentHealth, Cpu, Load, Memory, Swap};
use pvewatch_protocol::{
    Checkpoint, CheckpointContent, Epoch, Event, EventData, NodeName, NodePresence, Position,
    PresenceState, Sample, Sequence, Site, StopReason, StreamId,
};
use uuid::Uuid;

use super::configured::{backup_job, guest};
use super::runs::run;
use super::sampled::{
    certificate, clock, cluster, filesystems, interfaces, pools, temperatures, usage,
};
use super::stored::{archive_name, storage};
use super::story::at;

/// Looks for `key=value` among the words of a line.
type Options<'a> = dyn Fn(&str) -> Option<&'a str> + 'a;

/// What the story's nodes have said so far.
#[derive(Default)]
pub struct Teller {
    stream_ordinal: u64,
    sequence: u64,
    epoch: u64,
    boot: String,
    cluster: Option<String>,
    environment: Option<String>,
    /// Why its agent cannot read Proxmox' configuration.
    blocked: Option<String>,
    mac: Option<String>,
    /// When the next sample goes out by itself, and what it says.
    pub beat: Option<(Timestamp, Vec<String>)>,
}

/// A number in a UUIDv7 whose time is that of the story.
pub fn uuid(at: Timestamp, number: u64) -> Uuid {
    let millis = u128::try_from(at.as_millisecond()).unwrap();
    Uuid::from_u128(millis << 80 | 7 << 76 | 2 << 62 | u128::from(number))
}

impl Teller {
    /// A node that runs in its first boot, with its first stream.
    pub fn booted() -> Self {
        Self { boot: "boot-1".to_owned(), stream_ordinal: 1, ..Self::default() }
    }

    /// The input that a line of a story is: what this node says at a time.
    pub fn input(&mut self, time: Timestamp, node: &str, verb: &str, words: &[&str]) -> Input {
        let option = |key: &str| {
            words.iter().find_map(|word| word.split_once('=').filter(|(name, _)| *name == key))
        };
        let option = |key: &str| option(key).map(|(_, value)| value);
        let said_at = option("at").map_or(time, at);
        let name: NodeName = node.parse().unwrap();
        if let Some(boot) = option("boot") {
            self.boot = boot.to_owned();
        }
        let data = match verb {
            "online" | "offline" => {
                let presence = self.presence(node, verb, &option, said_at);
                return Input::NodePresence { node: name, presence, received_at: time };
            }
            "sample" => {
                let sample = Box::new(self.sample(node, &option, said_at));
                let backlog = Backlog {
                    events: option("missing").map_or(0, |events| events.parse().unwrap()),
                    since: option("since").map(at),
                };
                return Input::Sample { node: name, sample, backlog, received_at: time };
            }
            "units" | "guests" | "runs" | "jobs" | "storages" => {
                let elements = words.iter().filter(|word| !word.contains('='));
                let content = match verb {
                    "units" => units(words, said_at),
                    "guests" => CheckpointContent::Guests(elements.map(guest).collect()),
                    "runs" => {
                        let run = |word: &&str| run(word, said_at);
                        CheckpointContent::GuestRuns(elements.map(run).collect())
                    }
                    "storages" => {
                        let storage = |word: &&str| storage(word, said_at);
                        CheckpointContent::BackupStorages(elements.map(storage).collect())
                    }
                    _ => CheckpointContent::BackupJobs(elements.map(backup_job).collect()),
                };
                let (checkpoint, version) = self.picture(node, content, &option, said_at);
                let node = name;
                return Input::Checkpoint { node, checkpoint, version, received_at: time };
            }
            _ => self.event_data(verb, words, &option, said_at),
        };
        self.sequence += 1;
        let position = self.position(node);
        let version = Version { stream_ordinal: self.stream_ordinal, sequence: self.sequence };
        let event = Event {
            site: Site::default(),
            node: name,
            position,
            time: said_at,
            recorded_time: said_at,
            data,
            extensions: serde_json::Map::new(),
        };
        Input::Event { event, version, received_at: option("came").map_or(time, at) }
    }

    fn event_data(
        &mut self,
        verb: &str,
        words: &[&str],
        option: &Options<'_>,
        said_at: Timestamp,
    ) -> EventData {
        match verb {
            "started" => {
                self.stream_ordinal += 1;
                self.sequence = 0;
                self.cluster = option("cluster").map(str::to_owned).or(self.cluster.take());
                let environment = option("environment").map(str::to_owned);
                self.environment = environment.or(self.environment.take());
                self.blocked = option("blocked").map(str::to_owned);
                self.mac = option("mac").map(str::to_owned).or(self.mac.take());
                EventData::AgentStarted(AgentStarted { facts: self.facts(said_at) })
            }
            "stopping" => EventData::AgentStopping(AgentStopping {
                reason: reason(option("reason").unwrap_or("stopped")),
                boot_id: self.boot.clone(),
            }),
            "unit" => EventData::UnitChanged(Box::new(unit_changed(words, said_at))),
            "dropped" => {
                let number = |word: &str| Sequence(word.parse().unwrap());
                let (from, through) = (number(words[0]), number(words[1]));
                EventData::OutboxDropped(OutboxDropped {
                    from,
                    through,
                    reason: "outbox full".to_owned(),
                })
            }
            "backup" => EventData::BackupFinished(Box::new(backup(words, option))),
            "backing-up" => EventData::BackupStarted(BackupStarted {
                vmid: words[0].parse().unwrap(),
                kind: None,
                upid: upid(option),
                job: option("job").map(str::to_owned),
                storage: None,
            }),
            "job" => EventData::BackupJobFinished(job_finished(words, option)),
            "guest" => EventData::GuestChanged(run(words[0], said_at)),
            "task" => EventData::TaskFinished(TaskFinished {
                upid: upid(option),
                kind: words[0].to_owned(),
                vmid: None,
                user: "root@pam".to_owned(),
                outcome: serde_json::from_value(words[1].into()).unwrap(),
                error: None,
                started: said_at,
                restored_from: None,
            }),
            "removed" => EventData::UnitRemoved(UnitRemoved { unit: words[0].to_owned() }),
            "log" => EventData::UnitLog(UnitLog {
                unit: words[0].to_owned(),
                invocation_id: option("run").unwrap_or("run-1").to_owned(),
                lines: vec![LogLine { at: said_at, priority: 3, message: words[1].to_owned() }],
                truncated: false,
                redacted: 0,
            }),
            verb => panic!("unknown verb {verb:?}"),
        }
    }

    fn position(&self, node: &str) -> Position {
        let number = self.stream_ordinal * 256 + u64::from(node.as_bytes()[node.len() - 1]);
        Position { stream: StreamId(uuid(at("0s"), number)), sequence: Sequence(self.sequence) }
    }

    fn facts(&self, time: Timestamp) -> AgentFacts {
        let environment = self.environment.iter();
        AgentFacts {
            version: "0.1.0".to_owned(),
            boot_id: self.boot.clone(),
            booted_at: time,
            machine_id: None,
            product_uuid: None,
            macs: self.mac.iter().cloned().collect(),
            cluster: self.cluster.clone(),
            labels: environment.map(|env| ("environment".to_owned(), env.clone())).collect(),
            sources: self.blocked.iter().map(|detail| blocked(detail)).collect(),
            sample_interval_seconds: 10.0,
        }
    }

    fn epoch(&mut self, option: &Options<'_>) -> u64 {
        match option("epoch") {
            Some(epoch) => epoch.parse().unwrap(),
            None => self.epoch,
        }
    }

    fn presence(
        &mut self,
        node: &str,
        verb: &str,
        option: &Options<'_>,
        time: Timestamp,
    ) -> NodePresence {
        let online = verb == "online";
        let epoch = self.epoch(option) + u64::from(online && option("epoch").is_none());
        self.epoch = self.epoch.max(epoch);
        let number = epoch * 256 + u64::from(node.as_bytes()[node.len() - 1]);
        NodePresence {
            state: if online { PresenceState::Online } else { PresenceState::Offline },
            epoch: Epoch(uuid(at("0s"), number)),
            reason: (!online).then(|| reason(option("reason").unwrap_or("lost"))),
            boot_id: self.boot.clone(),
            cluster: None,
            at: time,
        }
    }

    fn sample(&mut self, node: &str, option: &Options<'_>, time: Timestamp) -> Sample {
        let epoch = self.epoch(option);
        let number = epoch * 256 + u64::from(node.as_bytes()[node.len() - 1]);
        let mut as_of = self.position(node);
        if let Some(stream) = option("stream") {
            as_of.stream = StreamId(uuid(at("0s"), stream.parse().unwrap()));
        }
        let value = |key| option(key).map_or(0.5, |value| value.parse().unwrap());
        let uptime_seconds = match option("up") {
            Some(seconds) => seconds.parse().unwrap(),
            None => 1000.0 + time.duration_since(at("0s")).as_secs_f64(),
        };
        let counted = |words| interfaces(words, time);
        Sample {
            at: time,
            epoch: Epoch(uuid(at("0s"), number)),
            as_of,
            interval_seconds: option("every").map_or(10.0, |every| every.parse().unwrap()),
            uptime_seconds,
            load: Load { one: value("load1"), five: 0.5, fifteen: value("load15") },
            cpu: Cpu { count: 4, busy_ratio: option("busy").map(|busy| busy.parse().unwrap()) },
            memory: Memory {
                total_bytes: 8 << 30,
                available_bytes: option("left").map_or(4, |gibibytes| gibibytes.parse().unwrap())
                    << 30,
            },
            swap: Swap { total_bytes: 0, free_bytes: 0 },
            pressure: None,
            filesystems: option("disks").map(filesystems).unwrap_or_default(),
            pools: option("pools").map(pools).unwrap_or_default(),
            interfaces: option("net").map(counted).unwrap_or_default(),
            temperatures: option("heat").map(temperatures).unwrap_or_default(),
            clock: option("clock").map(clock),
            certificate: option("certificate").map(certificate).map(Box::new),
            cluster: (option("members").or(option("quorate")).is_some()).then(|| {
                let members = option("members").unwrap_or("pve1,pve2");
                Box::new(cluster(members, option("quorate").unwrap_or("true")))
            }),
            oom_kills: option("kills").map(|kills| kills.parse().unwrap()),
            reboot_required: option("reboot").map(|needed| needed == "true"),
            guests: option("used").map(|words| usage(words, time)),
            agent: AgentHealth {
                rss_bytes: 5 << 20,
                outbox_events: u64::from(option("oldest").is_some()),
                oldest_unacked_seconds: option("oldest").map(|age| age.parse().unwrap()),
                outbox_bytes: 0,
                dropped_events: 0,
                resent_events: 0,
                ..AgentHealth::default()
            },
        }
    }

    /// `... [part=1/2] [as_of=3]`
    fn picture(
        &mut self,
        node: &str,
        content: CheckpointContent,
        option: &Options<'_>,
        time: Timestamp,
    ) -> (Checkpoint, Version) {
        let sequence = option("as_of").map_or(self.sequence, |as_of| as_of.parse().unwrap());
        let as_of = Position { sequence: Sequence(sequence), ..self.position(node) };
        let (part, of) = option("part").unwrap_or("1/1").split_once('/').unwrap();
        let (part, of) = (part.parse().unwrap(), of.parse().unwrap());
        let version = Version { stream_ordinal: self.stream_ordinal, sequence };
        (Checkpoint { as_of, part, of, at: time, content }, version)
    }
}

/// `units a.service=failed b.service=active`
fn units(words: &[&str], time: Timestamp) -> CheckpointContent {
    let units = words.iter().filter_map(|word| word.split_once('='));
    let units = units.filter(|(name, _)| name.contains(".service"));
    CheckpointContent::Units(
        units.map(|(name, state)| unit_state(name, state, &[], time)).collect(),
    )
}

/// A source that cannot read what it is there for.
fn blocked(detail: &str) -> SourceStatus {
    SourceStatus { name: "backup_jobs".to_owned(), active: false, detail: detail.to_owned() }
}

fn reason(text: &str) -> StopReason {
    let reasons = [StopReason::Stopped, StopReason::Shutdown, StopReason::Reboot, StopReason::Lost];
    reasons.into_iter().find(|reason| reason.as_str() == text).unwrap()
}

/// `NAME STATE [will_restart] [run=ID]`
fn unit_changed(words: &[&str], time: Timestamp) -> UnitChanged {
    let change = match words[1] {
        "failed" => UnitChange::Failed,
        "active" => UnitChange::Recovered,
        _ => UnitChange::Stopped,
    };
    UnitChanged { change, state: unit_state(words[0], words[1], words, time) }
}

/// `VMID OUTCOME [run=NUMBER] [size=BYTES] [made=TIME]`, the last if it made a file.
fn backup(words: &[&str], option: &Options<'_>) -> BackupFinished {
    let outcome = serde_json::from_value(words[1].into()).unwrap();
    let failed = matches!(outcome, Outcome::Failed);
    BackupFinished {
        vmid: words[0].parse().unwrap(),
        kind: None,
        name: Some("web".to_owned()),
        upid: upid(option),
        job: option("job").map(str::to_owned),
        outcome,
        error: failed.then(|| "no space".to_owned()),
        root_cause: None,
        started: None,
        duration_seconds: Some(60),
        size_bytes: option("size").map(|bytes| bytes.parse().unwrap()),
        transferred_bytes: None,
        reused_bytes: None,
        archive: option("made")
            .map(|time| format!("/mnt/pve/nas/dump/{}", archive_name(words[0], at(time)))),
        storage: Some("nas".to_owned()),
        mode: None,
        warnings: Vec::new(),
    }
}

/// `job NAME OUTCOME [began=TIME] [failed=VMID]`
fn job_finished(words: &[&str], option: &Options<'_>) -> BackupJobFinished {
    let failed = option("failed").map(|vmid| vmid.parse().unwrap());
    BackupJobFinished {
        upid: upid(option),
        job: Some(words[0].to_owned()),
        user: "root@pam".to_owned(),
        outcome: serde_json::from_value(words[1].into()).unwrap(),
        error: None,
        started: option("began").map_or(at("0s"), at),
        storage: None,
        succeeded: Vec::new(),
        failed: failed.into_iter().collect(),
    }
}

/// A task, by its number, or by when it began.
fn upid(option: &Options<'_>) -> String {
    let began = option("began").map(|began| format!("{:08X}", at(began).as_second()));
    let number = began.as_deref().or(option("run")).unwrap_or("1");
    format!("UPID:n:00000001:00000001:{number:0>8}:vzdump::root@pam:")
}

fn unit_state(name: &str, state: &str, words: &[&str], time: Timestamp) -> UnitState {
    let run = words.iter().find_map(|word| word.strip_prefix("run=")).unwrap_or("run-1");
    let failed = state == "failed";
    UnitState {
        unit: name.to_owned(),
        load_state: "loaded".to_owned(),
        active_state: state.to_owned(),
        sub_state: state.to_owned(),
        result: Some(if failed { "exit-code" } else { "success" }.to_owned()),
        exit: failed.then(|| Exit { code: "exited".to_owned(), status: 1 }),
        restarts: 0,
        will_restart: words.contains(&"will_restart"),
        invocation_id: Some(run.to_owned()),
        changed_at: Some(time),
        crash_loop: words.iter().find_map(|word| {
            let failures = word.strip_prefix("crashes=")?.parse().unwrap();
            Some(CrashLoop { since: time, failures })
        }),
    }
}
