//! How hot chips are, by `/sys/class/hwmon` (kernel documentation `hwmon/sysfs-interface`).

use std::collections::BTreeMap;

use pvewatch_protocol::sample::Temperature;

/// Chips of one host. Overflow: the coolest are left out.
pub const CHIPS_MAX: usize = 16;

/// What no sensor of a running machine measures, in degrees Celsius; a sensor that says so is not
/// connected.
const PLAUSIBLE: std::ops::RangeInclusive<f64> = -30.0..=125.0;

/// A limit below it was never set, and one above it says that there is none, in degrees Celsius.
const PLAUSIBLE_LIMIT: std::ops::RangeInclusive<f64> = 40.0..=150.0;

/// A chip and what it says.
#[derive(Debug, Clone, Default)]
pub struct Chip {
    /// The name of its driver, such as `coretemp`.
    pub name: String,
    /// What it sits on, such as `nvme0`.
    pub device: String,
    /// Its sensors.
    pub sensors: Vec<Sensor>,
}

/// A sensor, by the texts of its files.
#[derive(Debug, Clone, Default)]
pub struct Sensor {
    /// `temp1_label`.
    pub label: Option<String>,
    /// `temp1_input`, in thousandths of a degree.
    pub input: String,
    /// `temp1_max`.
    pub max: Option<String>,
    /// `temp1_crit`.
    pub crit: Option<String>,
}

/// Whether a chip of this name is worth asking.
pub fn is_asked(name: &str) -> bool {
    // It sends a command to the disk for each reading. A disk that sleeps is not woken.
    let asks_a_disk = name == "drivetemp";
    // Mainboards leave inputs of these unconnected, and firmware makes up numbers.
    let is_believed =
        !["acpitz", "nct", "it8", "w83", "f71"].iter().any(|prefix| name.starts_with(prefix));
    !asks_a_disk && is_believed
}

/// Each chip by the hottest of its sensors, by name.
pub fn hottest(chips: Vec<Chip>) -> Vec<Temperature> {
    let mut of_name: BTreeMap<String, usize> = BTreeMap::new();
    for chip in &chips {
        *of_name.entry(chip.name.clone()).or_default() += 1;
    }
    let name = |chip: &Chip| match of_name.get(&chip.name) {
        Some(2..) => format!("{}-{}", chip.name, chip.device),
        _ => chip.name.clone(),
    };
    let told = chips.iter().filter_map(|chip| {
        let told = chip.sensors.iter().filter_map(told);
        let hottest = told.max_by(|one, other| one.celsius.total_cmp(&other.celsius))?;
        Some(Temperature { chip: name(chip), ..hottest })
    });
    let mut told: Vec<Temperature> = told.collect();
    told.sort_by(|one, other| other.celsius.total_cmp(&one.celsius));
    told.truncate(CHIPS_MAX);
    told.sort_by(|one, other| one.chip.cmp(&other.chip));
    told
}

fn told(sensor: &Sensor) -> Option<Temperature> {
    let label = sensor.label.as_deref().map(str::trim).filter(|label| !label.is_empty());
    let limit = |text: &Option<String>| {
        celsius(text.as_deref()?).filter(|limit| PLAUSIBLE_LIMIT.contains(limit))
    };
    Some(Temperature {
        chip: String::new(),
        sensor: label.map(str::to_owned),
        celsius: celsius(&sensor.input).filter(|celsius| PLAUSIBLE.contains(celsius))?,
        high_celsius: limit(&sensor.max),
        critical_celsius: limit(&sensor.crit),
    })
}

/// Thousandths of a degree as degrees.
fn celsius(text: &str) -> Option<f64> {
    Some(f64::from(text.trim().parse::<i32>().ok()?) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sensor(label: &str, input: &str, crit: &str) -> Sensor {
        let text = |text: &str| (!text.is_empty()).then(|| format!("{text}\n"));
        Sensor { label: text(label), input: format!("{input}\n"), max: None, crit: text(crit) }
    }

    fn chip(name: &str, device: &str, sensors: &[Sensor]) -> Chip {
        Chip { name: name.to_owned(), device: device.to_owned(), sensors: sensors.to_vec() }
    }

    #[test]
    fn a_chip_is_told_by_its_hottest_sensor_and_two_of_a_name_by_what_they_sit_on() {
        let chips = vec![
            chip("nvme", "nvme1", &[sensor("Composite", "38850", "84850")]),
            chip("nvme", "nvme0", &[sensor("Composite", "41850", "65261850")]),
            chip(
                "coretemp",
                "coretemp.0",
                &[sensor("Core 0", "51000", "100000"), sensor("Core 1", "55500", "100000")],
            ),
        ];
        let told: Vec<_> = hottest(chips)
            .into_iter()
            .map(|it| (it.chip, it.sensor.unwrap_or_default(), it.celsius, it.critical_celsius))
            .collect();
        let row = |chip: &str, sensor: &str, celsius, critical| {
            (chip.to_owned(), sensor.to_owned(), celsius, critical)
        };
        assert_eq!(
            told,
            [
                row("coretemp", "Core 1", 55.5, Some(100.0)),
                row("nvme-nvme0", "Composite", 41.85, None),
                row("nvme-nvme1", "Composite", 38.85, Some(84.85)),
            ]
        );
    }

    #[test]
    fn disks_and_sensors_that_nobody_connected_are_not_asked() {
        for (name, asked) in [
            ("drivetemp", false),
            ("acpitz", false),
            ("nct6798", false),
            ("coretemp", true),
            ("k10temp", true),
            ("nvme", true),
        ] {
            assert_eq!(is_asked(name), asked, "{name}");
        }
    }

    #[test]
    fn what_cannot_be_is_not_told() {
        for input in ["", "x", "-128000", "2147483648", "255000", "99999999999999", "\u{fffd}"] {
            assert_eq!(hottest(vec![chip("k10temp", "", &[sensor("", input, "")])]), [], "{input}");
        }
        assert_eq!(hottest(vec![chip("k10temp", "", &[])]), []);
    }

    #[test]
    fn of_too_many_the_hottest_stay() {
        let one = |number: i32| {
            let input = (number * 1000).to_string();
            chip(&format!("chip{number}"), "", &[sensor("", &input, "")])
        };
        let told = hottest((1..=40).map(one).collect());
        assert_eq!(told.len(), CHIPS_MAX);
        assert!(told.iter().all(|it| it.celsius >= 25.0), "{told:?}");
    }
}
