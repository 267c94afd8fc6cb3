//! What guests use, by what the kernel says of their control groups (cgroup v2).

use pvewatch_protocol::Vmid;

/// The guest whose group a folder of `qemu.slice` is: `100.scope`.
pub fn machine(folder: &str) -> Option<Vmid> {
    folder.strip_suffix(".scope")?.parse().ok()
}

/// The guest whose group a folder of `lxc` is: `101`.
pub fn container(folder: &str) -> Option<Vmid> {
    folder.parse().ok()
}

/// Processor time by `cpu.stat`, in seconds, to the thousandth.
pub fn cpu_seconds(stat: &str) -> Option<f64> {
    let microseconds = value(stat, "usage_usec")?;
    Some((microseconds / 1000) as f64 / 1000.0)
}

/// Memory by `memory.current` and `memory.stat` that could not be had back at once. Caches of files
/// could; what lies in a tmpfs is counted among those by `file`, but not by these, and stays in.
pub fn memory_bytes(current: &str, stat: &str) -> Option<u64> {
    let current: u64 = current.trim().parse().ok()?;
    let freed = ["inactive_file", "active_file", "slab_reclaimable"];
    let freed = freed.into_iter().filter_map(|key| value(stat, key));
    Some(freed.fold(current, u64::saturating_sub))
}

/// The value of a key, of which each has a line.
fn value(stat: &str, key: &str) -> Option<u64> {
    let values = stat.lines().filter_map(|line| line.split_once(' '));
    values.filter(|(name, _)| *name == key).find_map(|(_, value)| value.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_told_to_the_thousandth() {
        let stat = "usage_usec 86400123999\nuser_usec 80000000000\nsystem_usec 6400123999\n";
        assert_eq!(cpu_seconds(stat), Some(86400.123));
        assert_eq!(cpu_seconds("user_usec 7\n"), None);
        assert_eq!(cpu_seconds("usage_usec -1\n"), None);
    }

    #[test]
    fn memory_that_can_be_had_back_does_not_count() {
        let stat = "anon 300\nfile 500\nshmem 100\ninactive_file 250\nactive_file 150\n\
                    slab_reclaimable 50\nslab 80\n";
        assert_eq!(memory_bytes("1000\n", stat), Some(550));
        // They are not read in one moment.
        assert_eq!(memory_bytes("400\n", stat), Some(0));
        assert_eq!(memory_bytes("1000\n", ""), Some(1000));
        assert_eq!(memory_bytes("", stat), None);
    }

    #[test]
    fn groups_are_known_by_their_names() {
        let number = |vmid: u32| Vmid::try_from(vmid).ok();
        assert_eq!(machine("100.scope"), number(100));
        assert_eq!(container("101"), number(101));
        for folder in ["cgroup.procs", "100", "pve.scope", "0.scope", ""] {
            assert_eq!(machine(folder), None, "{folder}");
        }
        for folder in ["101.scope", "monitor", "cpu.stat", "0"] {
            assert_eq!(container(folder), None, "{folder}");
        }
    }
}
