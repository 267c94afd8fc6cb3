//! Asks chips how hot they are, now and then. Some take their time, and one whose device is stuck
//! does not answer: the look has a thread of its own, and may hang there.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pvewatch_protocol::sample::Temperature;

use crate::host::temperatures::{Chip, Sensor, hottest, is_asked};
use crate::patience::SeldomLook;

/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// From one look to the next. Heat comes and goes by minutes, and a drive of the kind NVMe runs a
/// command for it.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Sensors that are asked of a chip, from the first: that is the one of the whole, where there is
/// such. Overflow: those of further cores are left out.
const SENSORS_MAX: usize = 16;

/// Chips that are looked at, those that are not asked included. Overflow: the rest is left out.
const CHIPS_SEEN_MAX: usize = 64;

/// Whoever looks.
#[derive(Debug)]
pub struct Temperatures {
    folder: PathBuf,
    eye: SeldomLook<Vec<Temperature>>,
    known: Vec<Temperature>,
}

impl Temperatures {
    /// Has not looked yet. `sys` is where the kernel shows devices.
    pub fn new(sys: &Path) -> Self {
        let folder = sys.join("class/hwmon");
        Self { folder, eye: SeldomLook::new(LOOK_EVERY), known: Vec::new() }
    }

    /// What the chips said last; nothing while they do not answer.
    pub async fn read(&mut self) -> Vec<Temperature> {
        let folder = self.folder.clone();
        let looked = self.eye.look_if_due(PATIENCE, move || hottest(chips(&folder))).await;
        if let Some(seen) = looked {
            self.known = seen.unwrap_or_default();
        }
        self.known.clone()
    }
}

fn chips(folder: &Path) -> Vec<Chip> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.take(CHIPS_SEEN_MAX).filter_map(|entry| chip(&entry.path())).collect()
}

fn chip(folder: &Path) -> Option<Chip> {
    let name = text(&folder.join("name"))?.trim().to_owned();
    if !is_asked(&name) {
        return None;
    }
    let device = fs::read_link(folder.join("device")).ok();
    let device = device.as_deref().and_then(Path::file_name).unwrap_or_default();
    let sensor = |number: usize| {
        let file = |what: &str| text(&folder.join(format!("temp{number}_{what}")));
        let input = file("input")?;
        Some(Sensor { input, label: file("label"), max: file("max"), crit: file("crit") })
    };
    let sensors = (1..=SENSORS_MAX).filter_map(sensor).collect();
    Some(Chip { name, device: device.to_string_lossy().into_owned(), sensors })
}

fn text(path: &Path) -> Option<String> {
    Some(String::from_utf8_lossy(&fs::read(path).ok()?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(sys: &Path, chip: &str, files: &[(&str, &[u8])]) {
        let folder = sys.join("class/hwmon").join(chip);
        fs::create_dir_all(&folder).unwrap();
        files.iter().for_each(|(name, text)| fs::write(folder.join(name), text).unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn chips_are_asked_once_a_minute_and_disks_never() {
        let sys = tempfile::tempdir().unwrap();
        let mut temperatures = Temperatures::new(sys.path());
        assert_eq!(temperatures.read().await, []);
        put(sys.path(), "hwmon0", &[("name", b"drivetemp\n"), ("temp1_input", b"31000\n")]);
        put(sys.path(), "hwmon1", &[("name", b"k10temp\n"), ("temp1_input", b"48250\n")]);
        put(sys.path(), "hwmon2", &[("name", b"\xff\xfe"), ("temp1_input", b"\xff")]);
        put(sys.path(), "hwmon3", &[("temp1_input", b"1000")]);
        assert_eq!(temperatures.read().await, [], "a minute is not over");
        tokio::time::advance(LOOK_EVERY).await;
        let told = temperatures.read().await;
        let [only] = &*told else { panic!("{told:?}") };
        assert_eq!((&*only.chip, only.celsius), ("k10temp", 48.25));
    }
}
