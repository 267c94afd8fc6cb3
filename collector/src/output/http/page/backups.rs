//! The backups on the page: a row a guest, with its last runs as a strip and two small plots.

use jiff::Timestamp;
use pvewatch_protocol::event::Outcome;
use serde::Serialize;

use super::view::{Listed, Moment};
use crate::fleet::{RUNS_KEPT, Run};
use crate::output::http::Picture;
use crate::output::http::api::{BackupAnswer, BackupsAnswer, BackupsQuery};
use crate::output::http::words::{self, Tone};
use crate::rules::human;

/// Guests on the page; the bad ones come first.
const GUESTS_MAX: usize = 200;

/// The width of a run in the strip, and the distance from one to the next.
const RUN_WIDTH: usize = 4;

/// Width and height of a plot, and the room above and below its line.
const PLOT: (f64, f64, f64) = (100.0, 24.0, 2.0);

/// The guests of the site and their backups.
#[derive(Debug, Default, Serialize)]
pub struct BackupsView {
    guests: Listed<GuestView>,
}

/// A guest and its backups.
#[derive(Debug, Serialize)]
pub struct GuestView {
    vmid: String,
    name: String,
    node: String,
    tone: Tone,
    result: &'static str,
    running: bool,
    why: String,
    ended: Option<Moment>,
    last_good: Option<Moment>,
    restored: Option<Moment>,
    due: String,
    jobs: String,
    excluded: String,
    archives: String,
    archives_trouble: String,
    strip: Vec<RunView>,
    strip_width: usize,
    size: Option<Plot>,
    duration: Option<Plot>,
}

/// A run in the strip.
#[derive(Debug, Serialize)]
struct RunView {
    x: usize,
    tone: Tone,
    title: String,
}

/// A line over the last runs, and its newest value in words.
#[derive(Debug, Serialize)]
struct Plot {
    path: String,
    text: String,
}

/// The guests of the site and their backups.
pub fn view(picture: &Picture) -> BackupsView {
    let query = BackupsQuery { limit: Some(GUESTS_MAX), ..BackupsQuery::default() };
    // The limit is one that is possible.
    let Ok(answer) = BackupsAnswer::of(picture, &query) else { return BackupsView::default() };
    let guests = Listed {
        left_out: answer.total - answer.backups.len(),
        shown: answer.backups.iter().map(|guest| GuestView::of(guest, &answer)).collect(),
    };
    BackupsView { guests }
}

impl GuestView {
    fn of(guest: &BackupAnswer, answer: &BackupsAnswer) -> Self {
        let now = answer.at;
        let moment = |at: Option<Timestamp>| at.map(|at| Moment::of(at, now));
        let excluded = match guest.excluded.len() {
            0 => String::new(),
            _ => format!("never includes {}", guest.excluded.join(", ")),
        };
        Self {
            vmid: guest.vmid.to_string(),
            name: guest.name.clone().unwrap_or_default(),
            node: guest.node.to_string(),
            tone: tone(guest, now),
            result: result(guest),
            running: guest.running.is_some(),
            why: guest.why().unwrap_or_default().to_owned(),
            ended: moment(guest.finished_at),
            last_good: moment(guest.last_success_at.filter(|_| guest.has_failed())),
            restored: moment(guest.restored_at),
            due: due(guest, now),
            jobs: answer.titles_of_jobs(guest),
            excluded,
            archives: archives(guest),
            archives_trouble: words::archives_trouble(guest).map_or_else(String::new, |it| it.1),
            strip: strip(&guest.runs),
            strip_width: RUNS_KEPT * RUN_WIDTH,
            size: plot(&guest.runs, |run| run.size_bytes, human::bytes),
            duration: plot(&guest.runs, |run| run.duration_seconds, human::duration),
        }
    }
}

fn tone(guest: &BackupAnswer, now: Timestamp) -> Tone {
    if guest.is_bad(now) {
        Tone::Bad
    } else if guest.outcome == Some(Outcome::Warnings)
        || guest.is_uncovered()
        || guest.surplus() > 0
    {
        Tone::Doubtful
    } else if guest.last_success_at.is_some() {
        Tone::Good
    } else {
        Tone::Neutral
    }
}

/// `12 archives: 11 on nas, 1 on local`, or `3 archives on nas`.
fn archives(guest: &BackupAnswer) -> String {
    let count: u32 = guest.archives.iter().map(|on| on.archives.count).sum();
    match (count, words::archives(guest)) {
        (0, _) => String::new(),
        (1, places) => places.replacen("1 on", "1 archive on", 1),
        (_, places) if !places.contains(',') => places.replacen(" on", " archives on", 1),
        (count, places) => format!("{count} archives: {places}"),
    }
}

fn result(guest: &BackupAnswer) -> &'static str {
    match guest.outcome {
        None => "no run is known",
        Some(Outcome::Ok) => "backed up",
        Some(Outcome::Warnings) => "backed up with warnings",
        Some(Outcome::Failed) => "failed",
        Some(Outcome::Interrupted) => "interrupted",
        Some(Outcome::Unknown) => "ended without a verdict",
    }
}

fn due(guest: &BackupAnswer, now: Timestamp) -> String {
    match (guest.overdue_since, guest.next_due_at) {
        (Some(since), _) => format!("overdue for {}", words::lasted(since, now)),
        (None, Some(next)) => format!("due in {}", words::lasted(now, next)),
        (None, None) if guest.is_uncovered() => "in no backup job".to_owned(),
        (None, None) => String::new(),
    }
}

/// The runs, the newest at the right.
fn strip(runs: &[Run]) -> Vec<RunView> {
    let free = RUNS_KEPT.saturating_sub(runs.len());
    let view = |(place, run): (usize, &Run)| RunView {
        x: (free + place) * RUN_WIDTH,
        tone: words::tone_of(run.outcome),
        title: format!("{}: {}", human::time(run.finished), run.outcome.as_str()),
    };
    runs.iter().enumerate().map(view).collect()
}

/// A line over the runs that have the value; none if there are not two of them.
fn plot(
    runs: &[Run],
    read: impl Fn(&Run) -> Option<u64>,
    text: impl Fn(f64) -> String,
) -> Option<Plot> {
    let values: Vec<f64> = runs.iter().filter_map(|run| Some(read(run)? as f64)).collect();
    let most = values.iter().copied().fold(1.0, f64::max);
    let (width, height, room) = PLOT;
    let step = width / values.len().saturating_sub(1).max(1) as f64;
    let point = |(place, value): (usize, &f64)| {
        let command = if place == 0 { 'M' } else { 'L' };
        let y = height - room - value / most * (height - 2.0 * room);
        format!("{command}{:.1} {y:.1}", place as f64 * step)
    };
    let path: String = values.iter().enumerate().map(point).collect();
    let newest = values.last().filter(|_| values.len() > 1)?;
    Some(Plot { path, text: text(*newest) })
}
