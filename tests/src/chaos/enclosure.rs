//! A place apart for a run: mounts and a network that nobody else sees, and that the kernel
//! removes with the run's last process, however it ends.

use std::env;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Set in the environment of a program that is inside.
const INSIDE: &str = "PVEWATCH_CHAOS_INSIDE";

/// Names of network namespaces are mounts; what libraries share in memory must not outlive them.
const PREPARE: &str = "mkdir -p /run/netns && mount -t tmpfs tmpfs /run/netns && \
                       mount -t tmpfs tmpfs /dev/shm && ip link set lo up && \
                       echo 1 >/proc/sys/net/ipv4/ip_forward && exec \"$0\" \"$@\"";

/// Begins this program again, inside; returns at once if it is there already.
///
/// # Errors
/// When it cannot be begun again. Otherwise this does not return.
pub fn enter() -> io::Result<()> {
    if env::var_os(INSIDE).is_some() {
        return Ok(());
    }
    let mut again = Command::new("unshare");
    again.args(["--mount", "--net", "--", "sh", "-c", PREPARE]);
    again.arg(env::current_exe()?).args(env::args_os().skip(1)).env(INSIDE, "1");
    Err(again.exec())
}
