//! The log: to the journal under systemd, to standard error otherwise.

use log::LevelFilter;
use systemd_journal_logger::{JournalLog, connected_to_journal};

/// Starts the log of this process. `default_level` holds unless `PVEWATCH_LOG` says otherwise.
///
/// `PVEWATCH_LOG` takes env_logger's filters, such as `debug` or `pvewatch_agent::units=trace`;
/// under systemd only a plain level.
pub fn init(default_level: LevelFilter) {
    let filters = std::env::var("PVEWATCH_LOG").unwrap_or_default();
    if connected_to_journal()
        && let Ok(journal) = JournalLog::new()
        && journal.install().is_ok()
    {
        log::set_max_level(filters.parse().unwrap_or(default_level));
        return;
    }
    let mut builder = env_logger::Builder::new();
    builder.filter_level(default_level);
    if !filters.is_empty() {
        builder.parse_filters(&filters);
    }
    // A second call (tests that start several services in one process) keeps the first log.
    let _ = builder.try_init();
}
