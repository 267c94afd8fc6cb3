//! Pools of disks: ZFS by `/proc/spl/kstat/zfs/*/state`, md arrays by `/proc/mdstat`.

use pvewatch_protocol::sample::{Pool, PoolKind};

/// Pools of one host. Overflow: the rest is left out.
pub const POOLS_MAX: usize = 64;

/// A ZFS pool by the text of its `state`.
pub fn zfs(name: &str, state: &str) -> Pool {
    let state = state.trim();
    Pool {
        name: name.to_owned(),
        kind: PoolKind::Zfs,
        state: state.to_ascii_lowercase(),
        healthy: state == "ONLINE",
        detail: None,
    }
}

/// By how many bytes the cache of ZFS (ARC) can shrink, by `/proc/spl/kstat/zfs/arcstats`.
pub fn arc_that_can_shrink(arcstats: &str) -> u64 {
    let value = |name: &str| {
        let mut rows = arcstats.lines().map(|line| line.split_whitespace());
        rows.find_map(|mut row| (row.next() == Some(name)).then(|| row.nth(1)?.parse::<u64>().ok()))
    };
    match (value("size").flatten(), value("c_min").flatten()) {
        (Some(size), Some(least)) => size.saturating_sub(least),
        _ => 0,
    }
}

/// The arrays of `/proc/mdstat`:
///
/// ```text
/// md0 : active raid1 sdb1[1] sda1[0](F)
///       1046528 blocks super 1.2 [2/1] [_U]
///       [==>..................]  recovery = 12.6% (37043392/292945152) finish=127.5min
/// ```
pub fn md(mdstat: &str) -> Vec<Pool> {
    let mut pools: Vec<Pool> = Vec::new();
    let mut is_array = false;
    for line in mdstat.lines() {
        if let Some((name, rest)) = line.split_once(" : ").filter(|_| line.starts_with("md")) {
            is_array = pools.len() < POOLS_MAX;
            if is_array {
                pools.push(array(name, rest));
            }
        } else if !line.starts_with([' ', '\t']) {
            is_array = false;
        } else if is_array && is_container(line) {
            pools.pop();
            is_array = false;
        } else if let Some(pool) = pools.last_mut().filter(|_| is_array) {
            take_in(pool, line.trim());
        }
    }
    pools
}

/// Whether this is no array but what firmware notes of several: its own members refer to it by path.
fn is_container(line: &str) -> bool {
    let external = line.split(' ').find_map(|word| word.strip_prefix("external:"));
    external.is_some_and(|format| !format.starts_with('/'))
}

fn array(name: &str, rest: &str) -> Pool {
    let state = rest.split(' ').next().unwrap_or_default();
    let failed = rest.matches("(F)").count();
    Pool {
        name: name.trim().to_owned(),
        kind: PoolKind::Md,
        state: if failed > 0 { "degraded".to_owned() } else { state.to_owned() },
        healthy: state == "active" && failed == 0,
        detail: (failed > 0).then(|| format!("failed devices: {failed}")),
    }
}

/// A further line about an array: `[2/1]` are the devices that it wants and that it has.
fn take_in(pool: &mut Pool, line: &str) {
    let counts = line.split(' ').find_map(|word| {
        let (wanted, there) = word.strip_prefix('[')?.strip_suffix(']')?.split_once('/')?;
        Some((wanted.parse::<u32>().ok()?, there.parse::<u32>().ok()?))
    });
    if let Some((wanted, there)) = counts.filter(|(wanted, there)| there < wanted) {
        pool.healthy = false;
        pool.state = "degraded".to_owned();
        pool.detail = Some(format!("{there} of {wanted} devices"));
    }
    let progress = ["recovery =", "resync =", "reshape ="].iter().find_map(|what| {
        let (_, rest) = line.split_once(what)?;
        Some(format!("{} {}", what.trim_end_matches(" ="), rest.split_whitespace().next()?))
    });
    if let Some(progress) = progress {
        let detail = pool.detail.take();
        pool.detail = Some(detail.map_or(progress.clone(), |it| format!("{it}, {progress}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_of_zfs_can_shrink_to_its_least_size() {
        let stats = |size: u64, least: u64| {
            format!(
                "9 1 0x01 123 33456 5129839217 1795230420\nname type data\nhits 4 92\n\
                 c                               4    {}\nc_min                           4    \
                 {least}\nsize                            4    {size}\n",
                size + 7
            )
        };
        assert_eq!(arc_that_can_shrink(&stats(9 << 30, 1 << 30)), 8 << 30);
        assert_eq!(arc_that_can_shrink(&stats(1 << 20, 1 << 30)), 0);
        for text in ["", "size 4 many\nc_min 4 0\n", "size 4 100\n", "size\nc_min\n"] {
            assert_eq!(arc_that_can_shrink(text), 0, "{text}");
        }
    }

    #[test]
    fn an_array_that_lacks_devices_is_degraded() {
        let mdstat = "\
Personalities : [raid1] [raid6] [raid5] [raid4]
md0 : active raid1 sdb1[1] sda1[0]
      1046528 blocks super 1.2 [2/2] [UU]

md1 : active raid1 sdb2[2] sda2[0]
      292945152 blocks super 1.2 [2/1] [U_]
      [==>..................]  recovery = 12.6% (37043392/292945152) finish=127.5min speed=33440K/sec
      bitmap: 1/3 pages [4KB], 65536KB chunk

md2 : active raid5 sdc1[0] sdd1[1](F) sde1[2]
      1953260544 blocks super 1.2 level 5, 512k chunk, algorithm 2 [3/2] [U_U]

md3 : active (auto-read-only) raid1 sdf1[1] sdg1[0]
      1046528 blocks super 1.2 [2/2] [UU]
        resync=PENDING

md4 : inactive sdh1[0](S)
      1046528 blocks super 1.2

md127 : inactive sdj[1](S) sdi[0](S)
      10402 blocks super external:imsm

md126 : active raid1 sdi[1] sdj[0]
      926113792 blocks super external:/md127/0 [2/2] [UU]

unused devices: <none>
";
        let told: Vec<_> = md(mdstat)
            .into_iter()
            .map(|it| {
                format!("{} {} {} {}", it.name, it.state, it.healthy, it.detail.unwrap_or_default())
            })
            .collect();
        assert_eq!(
            told,
            [
                "md0 active true ",
                "md1 degraded false 1 of 2 devices, recovery 12.6%",
                "md2 degraded false 2 of 3 devices",
                "md3 active true ",
                "md4 inactive false ",
                "md126 active true ",
            ]
        );
    }

    #[test]
    fn a_pool_is_well_when_zfs_says_that_it_is_online() {
        for (state, healthy) in [("ONLINE\n", true), ("DEGRADED\n", false), ("SUSPENDED", false)] {
            assert_eq!(zfs("rpool", state).healthy, healthy, "{state}");
        }
    }

    #[test]
    fn what_is_no_mdstat_has_no_arrays() {
        for text in ["", "Personalities :\nunused devices: <none>\n", "md0 :", "  [2/1]\n"] {
            assert_eq!(md(text), [], "{text:?}");
        }
    }
}
