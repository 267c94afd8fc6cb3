//! Guests of a played Proxmox node: processes in the units in which Proxmox puts its guests.

use super::Node;

/// What runs in a container's unit: it ends without an error, or with one, when it is told to.
const CONTAINER: &str = "\
[Unit]
Description=PVE LXC Container: %i
[Service]
Type=simple
KillMode=mixed
ExecStart=/bin/bash -c 'trap \"exit 0\" USR1; trap \"exit 1\" USR2; touch /run/%i.ready; sleep infinity & wait'
";

impl Node {
    /// Has what Proxmox needs to run containers.
    ///
    /// # Panics
    /// When it cannot be written.
    #[track_caller]
    pub fn has_containers(&self) {
        self.write_file("/etc/systemd/system/pve-container@.service", CONTAINER);
        self.shell("systemctl daemon-reload");
    }

    /// The command that starts a virtual machine, as Proxmox does: a scope in its slice.
    pub fn machine(vmid: u32) -> String {
        format!(
            "setsid systemd-run --quiet --scope --collect --slice=qemu.slice --unit={vmid} \
             --description='Proxmox VE VM {vmid}' sleep infinity >/dev/null 2>&1 & \
             until systemctl is-active --quiet {vmid}.scope; do sleep 0.01; done"
        )
    }

    /// The command that ends a machine's process.
    pub fn machine_ends(vmid: u32) -> String {
        format!(
            "systemctl kill --signal=KILL {vmid}.scope; \
             while systemctl is-active --quiet {vmid}.scope; do sleep 0.01; done"
        )
    }

    /// The command that starts a container, and waits until it can be told to end.
    pub fn container(vmid: u32) -> String {
        format!(
            "rm -f /run/{vmid}.ready; systemctl start pve-container@{vmid}.service; \
             until [ -e /run/{vmid}.ready ]; do sleep 0.01; done"
        )
    }

    /// Sets a guest's lock, or takes it away if that is empty.
    ///
    /// # Panics
    /// When the guest has no configuration.
    #[track_caller]
    pub fn locks(&self, vmid: u32, lock: &str) {
        let line = if lock.is_empty() { String::new() } else { format!("lock: {lock}\\n") };
        self.shell(&format!(
            "f=$(ls /etc/pve/local/*/{vmid}.conf) && \
             {{ printf '{line}'; grep -v '^lock:' $f; }} >/run/locked && cat /run/locked >$f"
        ));
    }
}
