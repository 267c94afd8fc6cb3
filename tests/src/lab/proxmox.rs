//! A node that behaves as a Proxmox VE node does, as far as its tasks and its configuration are
//! concerned.
//!
//! `/etc/pve` is a plain folder with the owners and modes of the real one, and its versions. The
//! program that plays tasks (`proxmox/`) is written from Proxmox' own, in its language, and shares
//! nothing with the agent's reader.

use super::Node;
use crate::deadline::{GENEROUS, eventually};

/// Where the program is in a node; its modules are in a folder of its name beside it.
const PROGRAM: &str = "/usr/local/sbin/proxmox.pl";

/// A configuration of storages in which none takes backups.
const NO_PLACE: &str = r"dir: local\n\tpath /var/lib/vz\n\tcontent iso\n";

/// Its modules.
const MODULES: &[(&str, &str)] = &[
    ("Child.pm", include_str!("proxmox/Child.pm")),
    ("Description.pm", include_str!("proxmox/Description.pm")),
    ("Dump.pm", include_str!("proxmox/Dump.pm")),
    ("Frame.pm", include_str!("proxmox/Frame.pm")),
    ("Guest.pm", include_str!("proxmox/Guest.pm")),
    ("Job.pm", include_str!("proxmox/Job.pm")),
    ("Log.pm", include_str!("proxmox/Log.pm")),
    ("Lxc.pm", include_str!("proxmox/Lxc.pm")),
    ("Qemu.pm", include_str!("proxmox/Qemu.pm")),
    ("Words.pm", include_str!("proxmox/Words.pm")),
];

impl Node {
    /// Becomes a Proxmox VE node, on which nothing has run yet.
    ///
    /// # Panics
    /// When the program cannot be written.
    #[track_caller]
    pub fn plays_proxmox(&self) {
        self.write_program(PROGRAM, include_str!("proxmox/proxmox.pl"));
        for (name, text) in MODULES {
            self.write_file(&format!("/usr/local/sbin/proxmox/{name}"), text);
        }
        self.shell("install --directory --owner=www-data --group=www-data /var/log/pve/tasks");
    }

    /// Has these guests and no others: `(vmid, "qemu" or "lxc", configuration)`. Unless it has storages
    /// already, its disk, which is that of the machine that tests, is no place for backups.
    ///
    /// # Panics
    /// When they cannot be written.
    #[track_caller]
    pub fn has_guests(&self, guests: &[(u32, &str, &str)]) {
        let (node, version) = (self.shell("hostname"), self.shell("date +%s%N"));
        self.shell(&format!(
            "rm -rf /etc/pve/nodes; mkdir -p /etc/pve/nodes/{node}/qemu-server \
             /etc/pve/nodes/{node}/lxc; ln -sfn nodes/{node} /etc/pve/local; \
             [ -e /etc/pve/storage.cfg ] || printf '{NO_PLACE}' >/etc/pve/storage.cfg"
        ));
        let mut list = Vec::new();
        for (vmid, kind, configuration) in guests {
            let folder = if *kind == "qemu" { "qemu-server" } else { "lxc" };
            let path = format!("/etc/pve/nodes/{node}/{folder}/{vmid}.conf");
            self.write_file(&path, configuration);
            list.push(format!(
                r#""{vmid}":{{"node":"{node}","type":"{kind}","version":{version}}}"#
            ));
        }
        let list = list.join(",");
        self.write_file("/etc/pve/.vmlist", &format!(r#"{{"version":1,"ids":{{{list}}}}}"#));
        self.says_that_something_changed();
    }

    /// Has these backup jobs and no others, as they stand in `jobs.cfg`.
    ///
    /// # Panics
    /// When they cannot be written.
    #[track_caller]
    pub fn has_jobs(&self, jobs: &str) {
        self.write_file("/etc/pve/jobs.cfg", jobs);
        self.says_that_something_changed();
    }

    /// Has these storages and no others, as they stand in `storage.cfg`.
    ///
    /// # Panics
    /// When they cannot be written.
    #[track_caller]
    pub fn has_storages(&self, storages: &str) {
        self.write_file("/etc/pve/storage.cfg", storages);
        self.says_that_something_changed();
    }

    /// Replicates guests as these lines of `replication.cfg` say.
    ///
    /// # Panics
    /// When they cannot be written.
    #[track_caller]
    pub fn replicates(&self, jobs: &str) {
        self.write_file("/etc/pve/replication.cfg", jobs);
        self.says_that_something_changed();
    }

    /// Has the scheduler note how the replications went.
    ///
    /// # Panics
    /// When that cannot be written.
    #[track_caller]
    pub fn notes_of_replication(&self, state: &str) {
        let file = "/var/lib/pve-manager/pve-replication-state.json";
        self.shell("mkdir -p /var/lib/pve-manager");
        self.write_file(&format!("{file}.new"), state);
        self.shell(&format!("mv {file}.new {file}"));
    }

    /// Gives the configuration a new version, and hides it from others as Proxmox does.
    fn says_that_something_changed(&self) {
        let version = self.shell("date +%s%N");
        let versions = format!(r#"{{"starttime":1,"vmlist":{version}}}"#);
        self.write_file("/etc/pve/.version.new", &versions);
        self.shell(
            "cd /etc/pve; chown -R root:www-data .; chmod -R u=rwX,g=rX,o= .; \
             mv .version.new .version",
        );
    }

    /// Runs a task to its end, and gives its name.
    ///
    /// # Panics
    /// When the program fails.
    #[track_caller]
    pub fn runs_task(&self, arguments: &[&str]) -> String {
        let command: Vec<&str> = [PROGRAM].into_iter().chain(arguments.iter().copied()).collect();
        self.succeeds(&command)
    }

    /// Begins a task and returns while it runs.
    ///
    /// # Panics
    /// When the program cannot be started.
    #[track_caller]
    pub fn begins_task(&self, arguments: &[&str]) {
        let unit = ["systemd-run", "--quiet", "--collect", PROGRAM];
        let command: Vec<&str> = unit.into_iter().chain(arguments.iter().copied()).collect();
        self.succeeds(&command);
    }

    /// Waits until a task of vzdump that was begun has said that, and gives its name: the newest
    /// one, if there are several.
    ///
    /// # Panics
    /// When it does not say it.
    #[track_caller]
    pub fn waits_for_task_to_say(&self, text: &str) -> String {
        eventually(&format!("a task of {} to say {text:?}", self.name()), GENEROUS, || {
            let find = "grep -rlF -e \"$0\" /var/log/pve/tasks/? | xargs -r ls -t | head -n 1";
            let found = self.run(&["sh", "-c", find, text]).stdout;
            found.rsplit('/').next().filter(|name| !name.is_empty()).map(str::to_owned)
        })
    }

    /// Sends a signal to the worker of a task.
    ///
    /// # Panics
    /// When that does not run.
    #[track_caller]
    pub fn signals_worker(&self, signal: &str, upid: &str) {
        let pid = upid.split(':').nth(2).and_then(|pid| u32::from_str_radix(pid, 16).ok());
        let pid = pid.unwrap_or_else(|| panic!("{upid} is no task"));
        self.succeeds(&["kill", &format!("-{signal}"), &pid.to_string()]);
    }

    /// Lets the scheduler do what it does every minute: note which of its runs are over.
    ///
    /// # Panics
    /// When the program fails.
    #[track_caller]
    pub fn scheduler_ticks(&self) {
        self.succeeds(&[PROGRAM, "--tick"]);
    }
}
