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

/// Where a node has its control groups of version 2, as `$g`, for the shell.
const GROUPS: &str =
    "g=/sys/fs/cgroup; [ -e $g/cgroup.controllers ] || g=$g/unified; [ -e $g/cgroup.controllers ]";

/// A `memory.stat` as long as the kernel's, with so many MiB of files that nobody uses now.
fn memory_stat(caches: u64) -> String {
    let before = "anon file kernel kernel_stack pagetables sec_pagetables percpu sock vmalloc shmem \
                  zswap zswapped file_mapped file_dirty file_writeback swapcached anon_thp file_thp \
                  shmem_thp inactive_anon active_anon";
    let after = "unevictable slab_unreclaimable slab workingset_refault_anon workingset_refault_file \
                 workingset_activate_anon workingset_activate_file workingset_restore_anon \
                 workingset_restore_file workingset_nodereclaim pgscan pgsteal pgscan_kswapd \
                 pgscan_direct pgsteal_kswapd pgsteal_direct pgfault pgmajfault pgrefill pgactivate \
                 pgdeactivate pglazyfree pglazyfreed zswpin zswpout thp_fault_alloc \
                 thp_collapse_alloc";
    let lines = |keys: &str| -> String {
        keys.split_whitespace().map(|key| format!("{key} 134217728\n")).collect()
    };
    let caches = format!("inactive_file {}\nactive_file 0\nslab_reclaimable 0\n", caches << 20);
    lines(before) + &caches + &lines(after)
}

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

    /// The command that ends a unit's processes for want of memory, as systemd-oomd does: it notes that
    /// at the unit's control group (setxattr(2)), by which systemd knows why they ended. systemd looks
    /// there only where it has all groups in version 2, as on Debian 13.
    pub fn runs_out_of_memory(unit: &str) -> String {
        format!(
            "{GROUPS}; perl -e '($path, $name, $value) = (@ARGV, \"user.oomd_ooms\", \"1\"); \
             exit(syscall(188, $path, $name, $value, 1, 0) != 0)' \
             $g$(systemctl show --property=ControlGroup --value {unit}) && \
             systemctl kill --signal=KILL {unit}"
        )
    }

    /// The command that starts a container, and waits until it can be told to end.
    pub fn container(vmid: u32) -> String {
        format!(
            "rm -f /run/{vmid}.ready; systemctl start pve-container@{vmid}.service; \
             until [ -e /run/{vmid}.ready ]; do sleep 0.01; done"
        )
    }

    /// Gives containers control groups of their own, as LXC does. The kernel counts their processor
    /// time; what it says of their memory is played on top of that, since a node of the lab may run
    /// where it does not count memory for groups. At first each holds 256 MiB.
    ///
    /// # Panics
    /// When the groups cannot be made.
    #[track_caller]
    pub fn has_groups(&self, vmids: std::ops::RangeInclusive<u32>) {
        let (first, last) = vmids.into_inner();
        self.write_file("/run/memory.stat", &memory_stat(1));
        self.shell(&format!(
            "{GROUPS}; p=/run/groups; mkdir -p $p; mount -t tmpfs groups $p; mkdir $p/over $p/work; \
             for n in $(seq {first} {last}); do mkdir -p $g/lxc/$n $p/over/$n; \
               echo 268435456 >$p/over/$n/memory.current; cp /run/memory.stat $p/over/$n/; done; \
             mount -t overlay -o lowerdir=$g/lxc,upperdir=$p/over,workdir=$p/work overlay $g/lxc"
        ));
    }

    /// A container holds so much memory, in MiB, of which some are caches.
    ///
    /// # Panics
    /// When it has no group.
    #[track_caller]
    pub fn holds(&self, vmid: u32, mebibytes: u64, caches: u64) {
        self.write_file("/run/memory.stat", &memory_stat(caches));
        self.shell(&format!(
            "{GROUPS}; cp /run/memory.stat $g/lxc/{vmid}/memory.stat; \
             echo $(({mebibytes} << 20)) >$g/lxc/{vmid}/memory.current"
        ));
    }

    /// Puts a process into a machine's scope that keeps a processor as busy as it can, and notes its
    /// id in `/run/busy`.
    ///
    /// # Panics
    /// When the machine does not run.
    #[track_caller]
    pub fn is_busy(&self, vmid: u32) {
        self.shell(&format!(
            "{GROUPS}; setsid sh -c \"echo \\$\\$ >$g/qemu.slice/{vmid}.scope/cgroup.procs; \
             echo \\$\\$ >/run/busy; while :; do :; done\" >/dev/null 2>&1 & \
             until [ -s /run/busy ]; do sleep 0.01; done"
        ));
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
