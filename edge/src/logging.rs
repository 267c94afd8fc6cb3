//! The log: to the journal under systemd, to standard error otherwise.
//!
//! Libraries speak only when something is wrong: what they say at lower levels is about
//! themselves. Those of MQTT only when it is an error: they warn of every refused or dropped
//! message, which is counted and said once by whoever sent it.

use log::{LevelFilter, Log, Metadata, Record};
use systemd_journal_logger::{JournalLog, connected_to_journal};

/// What the targets of this project begin with.
const OWN_TARGETS: &str = "pvewatch";

/// Libraries that warn of single messages.
const CHATTY_TARGETS: [&str; 2] = ["rumqttc", "rmqtt"];

/// Starts the log of this process. `default_level` holds unless `PVEWATCH_LOG` says otherwise.
///
/// `PVEWATCH_LOG` takes env_logger's filters, such as `debug` or `pvewatch_agent::units=trace`;
/// under systemd only a plain level.
pub fn init(default_level: LevelFilter) {
    let filters = std::env::var("PVEWATCH_LOG").unwrap_or_default();
    if connected_to_journal()
        && let Ok(journal) = JournalLog::new()
        && log::set_boxed_logger(Box::new(QuietLibraries { journal })).is_ok()
    {
        log::set_max_level(filters.parse().unwrap_or(default_level));
        return;
    }
    let mut builder = env_logger::Builder::new();
    builder.filter_level(default_level.min(LevelFilter::Warn));
    builder.filter_module(OWN_TARGETS, default_level);
    for target in CHATTY_TARGETS {
        builder.filter_module(target, LevelFilter::Error);
    }
    if !filters.is_empty() {
        builder.parse_filters(&filters);
    }
    // A second call (tests that start several services in one process) keeps the first log.
    let _ = builder.try_init();
}

/// The journal, without what libraries say below a warning.
struct QuietLibraries {
    journal: JournalLog,
}

impl Log for QuietLibraries {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        let is_chatty = CHATTY_TARGETS.iter().any(|chatty| target.starts_with(chatty));
        let limit = if is_chatty { LevelFilter::Error } else { LevelFilter::Warn };
        target.starts_with(OWN_TARGETS) || metadata.level() <= limit
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.journal.log(record);
        }
    }

    fn flush(&self) {
        self.journal.flush();
    }
}
