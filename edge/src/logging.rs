//! The log: to the journal under systemd, to standard error otherwise.
//!
//! Libraries speak only when something is wrong: what they say at lower levels is about
//! themselves.

use log::{LevelFilter, Log, Metadata, Record};
use systemd_journal_logger::{JournalLog, connected_to_journal};

/// What the targets of this project begin with.
const OWN_TARGETS: &str = "pvewatch";

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
        metadata.target().starts_with(OWN_TARGETS) || metadata.level() <= LevelFilter::Warn
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
