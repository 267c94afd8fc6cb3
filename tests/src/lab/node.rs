//! A node: boot it, look into it, write files, run commands, reboot it, cut its power.
//!
//! Commands run in the node's namespaces, so that they see its bus, its journal and its
//! processes. The network is the host's: the node reaches the test's broker on 127.0.0.1.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::container::{Container, EXIT_REBOOT};
use super::image::{self, Suite};
use super::leftovers;
use super::root::Root;
use crate::deadline::eventually;
use crate::process::tail;

/// From power-on to a system that is up; it takes half a second on an idle machine.
const BOOT: Duration = Duration::from_secs(90);

/// From the announcement of a reboot or power-off to its end. Units that do not stop in time
/// are killed after 90 s.
const SHUTDOWN: Duration = Duration::from_secs(120);

/// What a command said.
#[derive(Debug, Clone)]
pub struct Output {
    /// The exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output, without the last line's end.
    pub stdout: String,
    /// Its standard error, without the last line's end.
    pub stderr: String,
}

impl Output {
    /// Whether it exited with 0.
    pub fn succeeded(&self) -> bool {
        self.code == Some(0)
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {:?}\n{}\n{}", self.code, self.stdout, self.stderr)
    }
}

/// A node of the lab; gone with everything in it when it is dropped.
pub struct Node {
    name: String,
    id: String,
    suite: Suite,
    container: Option<Container>,
    root: Root,
    console: PathBuf,
    directory: PathBuf,
    units_of_interest: Vec<String>,
}

impl Node {
    /// Makes a node that is switched off.
    ///
    /// # Panics
    /// When there is no root file system for it and none can be made.
    #[track_caller]
    pub fn new(name: &str, suite: Suite) -> Self {
        static NODES: AtomicU32 = AtomicU32::new(0);
        image::tidy_up();
        let lower = image::of(suite);
        let number = NODES.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}-{number}-{name}", std::process::id());
        let directory = leftovers::claim(&image::lab_folder(), &id);
        let node = Self {
            name: name.to_owned(),
            id,
            suite,
            container: None,
            root: Root::prepare(&lower, &directory),
            console: directory.join("console.log"),
            directory,
            units_of_interest: Vec::new(),
        };
        node.write_file("/etc/hostname", &format!("{name}\n"));
        node.write_file("/etc/hosts", &format!("127.0.0.1 localhost\n127.0.1.1 {name}\n"));
        node
    }

    /// Makes a node and boots it.
    ///
    /// # Panics
    /// As [`Node::new`] and [`Node::boot`].
    #[track_caller]
    pub fn booted(name: &str, suite: Suite) -> Self {
        let mut node = Self::new(name, suite);
        node.boot();
        node
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its release of Debian.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Switches it on and waits until systemd says that it is up.
    ///
    /// # Panics
    /// When it is on already, or does not come up.
    #[track_caller]
    pub fn boot(&mut self) {
        assert!(self.container.is_none(), "{} is on already", self.name);
        self.container =
            Some(Container::boot(&self.id, &self.name, self.suite, &self.root, &self.console));
        let name = self.name.clone();
        eventually(&format!("{name} to be up"), BOOT, || {
            let state = self.run(&["systemctl", "is-system-running"]).stdout;
            matches!(state.as_str(), "running" | "degraded").then_some(())
        });
    }

    /// Reboots as an administrator does: systemd stops every unit and starts again.
    ///
    /// # Panics
    /// When the node does not go down or come up again.
    #[track_caller]
    pub fn reboot(&mut self) {
        self.announce("reboot");
        let code = self.wait_until_off();
        assert_eq!(code, Some(EXIT_REBOOT), "{} did not reboot\n{}", self.name, self.console());
        self.boot();
    }

    /// Switches it off as an administrator does.
    ///
    /// # Panics
    /// When the node does not go down.
    #[track_caller]
    pub fn power_off(&mut self) {
        self.announce("poweroff");
        let code = self.wait_until_off();
        assert_eq!(code, Some(0), "{} did not power off\n{}", self.name, self.console());
    }

    /// Cuts the power: every process is gone at once and nothing is announced. What was written
    /// to files stays, since the host's cache survives; its connections are closed by the host.
    ///
    /// # Panics
    /// When it is off already.
    #[track_caller]
    pub fn power_loss(&mut self) {
        let container = self.container.take();
        container.unwrap_or_else(|| panic!("{} is off already", self.name)).cut_power();
    }

    /// Restarts the bus. systemd-logind does not come back to a new bus by itself, so it is
    /// restarted too, as the administrator of a real node has to.
    ///
    /// # Panics
    /// When one of them does not restart.
    #[track_caller]
    pub fn restart_bus(&self) {
        self.succeeds(&["systemctl", "restart", "dbus.service"]);
        self.succeeds(&["systemctl", "restart", "systemd-logind.service"]);
    }

    /// Runs a command in the node as root.
    ///
    /// # Panics
    /// When the node is off.
    #[track_caller]
    pub fn run(&self, command: &[&str]) -> Output {
        let output = self
            .command(command)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("nsenter cannot be started: {error}"));
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end().to_owned();
        Output {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// Runs a command in the node and gives what it printed.
    ///
    /// # Panics
    /// When it does not exit with 0.
    #[track_caller]
    pub fn succeeds(&self, command: &[&str]) -> String {
        let output = self.run(command);
        assert!(output.succeeded(), "{}: {}: {output}", self.name, command.join(" "));
        output.stdout
    }

    /// Runs a shell script in the node and gives what it printed.
    ///
    /// # Panics
    /// When it does not exit with 0.
    #[track_caller]
    pub fn shell(&self, script: &str) -> String {
        self.succeeds(&["sh", "-euc", script])
    }

    /// Writes a file, also while the node is off.
    ///
    /// # Panics
    /// When it cannot be written.
    #[track_caller]
    pub fn write_file(&self, path: &str, content: &str) {
        self.write_bytes(path, content.as_bytes(), 0o644);
    }

    /// Writes a program.
    ///
    /// # Panics
    /// When it cannot be written.
    #[track_caller]
    pub fn write_program(&self, path: &str, content: &str) {
        self.write_bytes(path, content.as_bytes(), 0o755);
    }

    /// Copies a file of the host into the node.
    ///
    /// # Panics
    /// When it cannot be read or written.
    #[track_caller]
    pub fn copy_in(&self, from: &Path, to: &str) {
        let content = fs::read(from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        self.write_bytes(to, &content, 0o644);
    }

    /// Installs a package whose dependencies are in the image.
    ///
    /// # Panics
    /// When dpkg fails.
    #[track_caller]
    pub fn install(&self, package: &Path) {
        let to = "/var/cache/pvewatch-package.deb";
        self.copy_in(package, to);
        self.succeeds(&["dpkg", "--install", to]);
    }

    /// The kernel's boot id as the node sees it.
    pub fn boot_id(&self) -> String {
        self.succeeds(&["cat", "/proc/sys/kernel/random/boot_id"])
    }

    /// Names a unit whose journal a failing test should show.
    pub fn show_journal_of(&mut self, unit: &str) {
        self.units_of_interest.push(unit.to_owned());
    }

    /// The end of its console, for people.
    pub fn console(&self) -> String {
        tail(&self.console)
    }

    /// A process id of the node's namespace as the host numbers it.
    pub fn host_pid(&self, pid: u32) -> Option<u32> {
        let leader = fs::read_link(format!("/proc/{}/ns/pid", self.leader())).ok()?;
        let processes = fs::read_dir("/proc").ok()?.flatten();
        let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        ids.filter(|id| fs::read_link(format!("/proc/{id}/ns/pid")).is_ok_and(|it| it == leader))
            .find(|id| {
                let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
                let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
                line.and_then(|ids| ids.split_whitespace().last()?.parse().ok()) == Some(pid)
            })
    }

    #[track_caller]
    fn leader(&self) -> u32 {
        match &self.container {
            Some(container) => container.leader,
            None => panic!("{} is off", self.name),
        }
    }

    #[track_caller]
    fn command(&self, command: &[&str]) -> Command {
        let leader = self.leader().to_string();
        let mut enter = Command::new("nsenter");
        enter.args(["--target", &leader, "--mount", "--uts", "--ipc", "--net", "--pid"]);
        enter.args(["--cgroup", "--root", "--wd=/", "--"]);
        enter.args(command);
        enter.env_clear().envs([
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            ("LANG", "C.UTF-8"),
            ("HOME", "/root"),
            ("DEBIAN_FRONTEND", "noninteractive"),
            ("SYSTEMD_PAGER", ""),
        ]);
        enter
    }

    /// Asks systemd itself, as systemd-logind would, since that is not always there to be asked.
    #[track_caller]
    fn announce(&self, what: &str) {
        let target = format!("{what}.target");
        let mode = "--job-mode=replace-irreversibly";
        self.succeeds(&["systemctl", "start", "--no-block", mode, &target]);
    }

    #[track_caller]
    fn wait_until_off(&mut self) -> Option<i32> {
        let mut container = self.container.take().expect("it was on a moment ago");
        container.manager.exits_within(SHUTDOWN).code()
    }

    #[track_caller]
    fn write_bytes(&self, path: &str, content: &[u8], mode: u32) {
        let root = match &self.container {
            Some(container) => PathBuf::from(format!("/proc/{}/root", container.leader)),
            None => self.root.writable(),
        };
        let file = root.join(path.trim_start_matches('/'));
        let parent = file.parent().expect("an absolute path has a parent");
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&file, content))
            .and_then(|()| fs::set_permissions(&file, fs::Permissions::from_mode(mode)))
            .unwrap_or_else(|error| panic!("{}: {path}: {error}", self.name));
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {} ({}) when the test failed", self.name, self.suite.name());
            if self.container.is_some() {
                for unit in &self.units_of_interest {
                    let journal = ["journalctl", "--no-pager", "-n", "60", "-u", unit.as_str()];
                    eprintln!("{}", self.run(&journal).stdout);
                }
            } else {
                eprintln!("{}", self.console());
            }
        }
        drop(self.container.take());
        let _ = fs::remove_dir_all(&self.directory);
    }
}
