//! Backup jobs as Proxmox keeps them: sections of `jobs.cfg`, and before PVE 7.1 `vzdump.cron`.
//!
//! What a job covers and when it is due is judged elsewhere; this is what the files say. Defaults
//! are Proxmox's: enabled, storage `local`, `mode snapshot`.

use pvewatch_protocol::Vmid;

use super::sections::{Section, items, sections, unescaped};
use crate::backups::log::job::{option, words};

/// A scheduled run over guests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its name; of a line in `vzdump.cron` its place.
    pub id: String,
    /// Whether it runs.
    pub is_enabled: bool,
    /// When it is due, as a calendar event.
    pub schedule: String,
    /// Whether a run that was missed is made up for.
    pub repeats_missed: bool,
    /// The node on which alone it runs; on all if none.
    pub node: Option<String>,
    /// What it backs up.
    pub selection: Selection,
    /// Where to; none if it names a folder.
    pub storage: Option<String>,
    /// The folder, if it names one.
    pub folder: Option<String>,
    /// `snapshot`, `suspend` or `stop`.
    pub mode: String,
    /// What is kept, as `prune-backups` says it.
    pub prune: Option<String>,
    /// What somebody wrote of it.
    pub comment: Option<String>,
    /// Whether the scheduler notes when it ran; cron does not.
    pub has_notes: bool,
}

/// The guests of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// All but some.
    All {
        /// Those.
        exclude: Vec<Vmid>,
    },
    /// These.
    Guests(Vec<Vmid>),
    /// The members of a pool, but some.
    Pool {
        /// The pool.
        name: String,
        /// Those.
        exclude: Vec<Vmid>,
    },
}

/// The backup jobs of a `jobs.cfg`; sections of other kinds are none.
pub fn jobs(text: &str) -> Vec<Job> {
    sections(text).iter().filter(|section| section.kind == "vzdump").map(job).collect()
}

fn job(section: &Section) -> Job {
    let text = |key: &str| section.get(key).filter(|value| !value.is_empty()).map(str::to_owned);
    let is_all = section.is_on("all").unwrap_or(false);
    Job {
        id: section.id.clone(),
        is_enabled: section.is_on("enabled").unwrap_or(true),
        schedule: text("schedule").or_else(|| old_schedule(section)).unwrap_or_default(),
        repeats_missed: section.is_on("repeat-missed").unwrap_or(false),
        comment: text("comment").map(|comment| unescaped(&comment)),
        has_notes: true,
        ..Job::of_options(is_all, guests(section.list("vmid")), text)
    }
}

/// `dow` and `starttime`, which jobs had before they had a schedule.
fn old_schedule(section: &Section) -> Option<String> {
    let time = section.get("starttime")?;
    Some(match section.get("dow") {
        Some(days) if !days.is_empty() => format!("{days} {time}"),
        _ => time.to_owned(),
    })
}

fn guests<'a>(items: impl IntoIterator<Item = &'a str>) -> Vec<Vmid> {
    items.into_iter().filter_map(|item| item.parse().ok()).collect()
}

/// The jobs of a `vzdump.cron`:
/// `MM HH * * <days> root [path/][#]vzdump [guests] --option value...`.
pub fn cron_jobs(text: &str) -> Vec<Job> {
    let jobs = text.lines().filter_map(cron_job).zip(1..);
    jobs.map(|(job, place)| Job { id: format!("vzdump.cron:{place}"), ..job }).collect()
}

impl Job {
    /// What both files say in vzdump's own options; what only one of them has is as if unsaid.
    fn of_options(
        is_all: bool,
        guests_named: Vec<Vmid>,
        option: impl Fn(&str) -> Option<String>,
    ) -> Self {
        let exclude = guests(items(&option("exclude").unwrap_or_default()));
        let folder = option("dumpdir");
        Self {
            id: String::new(),
            is_enabled: true,
            schedule: String::new(),
            repeats_missed: false,
            node: option("node"),
            selection: match option("pool") {
                Some(name) => Selection::Pool { name, exclude },
                None if is_all || !exclude.is_empty() => Selection::All { exclude },
                None => Selection::Guests(guests_named),
            },
            storage: option("storage").or_else(|| folder.is_none().then(|| "local".to_owned())),
            folder,
            mode: option("mode").unwrap_or_else(|| "snapshot".to_owned()),
            prune: option("prune-backups"),
            comment: None,
            has_notes: false,
        }
    }
}

fn cron_job(line: &str) -> Option<Job> {
    let mut rest = line.trim_start();
    let mut field = || {
        let (field, after) = rest.split_once([' ', '\t'])?;
        rest = after.trim_start();
        Some(field)
    };
    let (minute, hour, day, month, days, user) =
        (field()?, field()?, field()?, field()?, field()?, field()?);
    let minute: u8 = minute.parse().ok().filter(|minute| *minute < 60)?;
    let hour: u8 = hour.parse().ok().filter(|hour| *hour < 24)?;
    if (day, month, user) != ("*", "*", "root") {
        return None;
    }
    let (program, _) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
    let name = program.rsplit('/').next()?;
    let is_enabled = !program.contains('#');
    (name.trim_start_matches('#') == "vzdump").then_some(())?;
    let named = words(rest);
    let named = named.iter().skip(1).take_while(|word| !word.starts_with("--"));
    let is_all = option(rest, "all").is_some_and(|all| all == "1");
    let guests_named = guests(named.map(String::as_str));
    Some(Job {
        is_enabled,
        schedule: format!("{}{hour}:{minute:02}", weekdays(days)?),
        ..Job::of_options(is_all, guests_named, |name| option(rest, name))
    })
}

/// Cron's days of the week, where 0 and 7 are Sunday, as a calendar event begins with.
fn weekdays(field: &str) -> Option<String> {
    const DAYS: [&str; 8] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    if field == "*" {
        return Some(String::new());
    }
    let mut days = Vec::new();
    for part in field.split(',') {
        let day = match part.parse::<usize>() {
            Ok(number) => *DAYS.get(number)?,
            Err(_) => DAYS.iter().copied().find(|day| part.eq_ignore_ascii_case(day))?,
        };
        days.push(day);
    }
    Some(format!("{} ", days.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vmids(numbers: &[u32]) -> Vec<Vmid> {
        numbers.iter().map(|number| Vmid::try_from(*number).unwrap()).collect()
    }

    #[test]
    fn a_job_is_read_with_proxmoxs_defaults() {
        let jobs =
            jobs("vzdump: a\n\tschedule 21:00\n\tvmid 100,101\n\nrealm-sync: b\n\tenabled 1\n");
        assert_eq!(
            jobs,
            [Job {
                id: "a".to_owned(),
                is_enabled: true,
                schedule: "21:00".to_owned(),
                repeats_missed: false,
                node: None,
                selection: Selection::Guests(vmids(&[100, 101])),
                storage: Some("local".to_owned()),
                folder: None,
                mode: "snapshot".to_owned(),
                prune: None,
                comment: None,
                has_notes: true,
            }]
        );
    }

    #[test]
    fn what_a_job_covers() {
        let of = |keys: &str| jobs(&format!("vzdump: a\n{keys}")).remove(0).selection;
        assert_eq!(of("\tall 1\n"), Selection::All { exclude: vec![] });
        assert_eq!(of("\texclude 9\n"), Selection::All { exclude: vmids(&[9]) });
        assert_eq!(
            of("\tpool p\n\texclude 9\n"),
            Selection::Pool { name: "p".to_owned(), exclude: vmids(&[9]) }
        );
        assert_eq!(of("\tall 0\n\tvmid 5\n"), Selection::Guests(vmids(&[5])));
        assert_eq!(of(""), Selection::Guests(vec![]));
    }

    #[test]
    fn old_keys_make_a_schedule() {
        let job = jobs("vzdump: a\n\tdow mon,tue\n\tstarttime 01:30\n\tenabled 0\n").remove(0);
        assert_eq!((job.schedule.as_str(), job.is_enabled), ("mon,tue 01:30", false));
    }

    #[test]
    fn lines_of_cron_are_jobs() {
        let text = "\
# cluster wide vzdump cron schedule
PATH=\"/usr/sbin:/usr/bin:/sbin:/bin\"

0 2 * * 6,7          root vzdump 100 101 --quiet 1 --mode stop --storage nas
30 23 * * *          root #vzdump --all 1 --exclude '102,103' --node pve1
15 4 * * mon         root /usr/bin/vzdump --pool p --dumpdir /mnt
5 4 1 * *            root vzdump 100
61 4 * * *           root vzdump 100
5 4 * * *            root vzdumps 100
";
        let jobs = cron_jobs(text);
        let schedules: Vec<_> = jobs.iter().map(|job| job.schedule.as_str()).collect();
        assert_eq!(schedules, ["sat,sun 2:00", "23:30", "mon 4:15"]);
        assert_eq!(jobs[0].selection, Selection::Guests(vmids(&[100, 101])));
        assert_eq!(jobs[1].selection, Selection::All { exclude: vmids(&[102, 103]) });
        assert_eq!((jobs[0].is_enabled, jobs[1].is_enabled), (true, false));
        assert_eq!(jobs[1].node.as_deref(), Some("pve1"));
        assert_eq!((jobs[2].storage.as_deref(), jobs[2].folder.as_deref()), (None, Some("/mnt")));
        assert_eq!((jobs[0].id.as_str(), jobs[2].id.as_str()), ("vzdump.cron:1", "vzdump.cron:3"));
    }
}
