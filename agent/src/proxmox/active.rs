//! Proxmox' list of tasks, `/var/log/pve/tasks/active`: `<UPID> <0|1>[ <endtime>[ <status>]]`.

/// Whether a task is in the list, and has not ended.
pub fn is_running(active: &str, upid: &str) -> bool {
    active.lines().any(|line| {
        let mut words = line.split(' ');
        words.next() == Some(upid) && words.nth(1).is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_runs_until_it_has_an_end() {
        let active = "UPID:a: 0\nUPID:b: 1 6AC05394 OK\nUPID:c: 0 6AC05394\n";
        assert!(is_running(active, "UPID:a:"));
        for ended in ["UPID:b:", "UPID:c:", "UPID:d:", "UPID"] {
            assert!(!is_running(active, ended), "{ended}");
        }
    }
}
