//! Stories of the packages: what an administrator installs, upgrades, removes and purges.

use pvewatch_tests::deadline::{GENEROUS, eventually};
use pvewatch_tests::lab::{Node, Suite};
use pvewatch_tests::on_both_releases;
use pvewatch_tests::places::package;

on_both_releases!(
    a_package_starts_its_service_as_its_own_user,
    a_sandbox_is_as_tight_as_promised,
    an_upgrade_keeps_what_the_administrator_changed,
    rules_are_read_anew_by_a_reload_of_the_service,
    a_purge_leaves_nothing_behind,
);

/// Worst allowed exposure, in tenths, by `systemd-analyze security`.
const EXPOSURE_MAX: u32 = 20;

const PACKAGES: [&str; 2] = ["pvewatch-agent", "pvewatch-collector"];

/// A node with both packages. The agent's broker is moved to a port where nobody listens: the
/// node shares the loopback of the host, and its agent must find nobody else's broker there.
fn with_both(suite: Suite) -> Node {
    let mut node = Node::booted("pve1", suite);
    node.write_program("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n");
    for name in PACKAGES {
        node.show_journal_of(&format!("{name}.service"));
        node.install(&package(name));
    }
    node.succeeds(&["rm", "/usr/sbin/policy-rc.d"]);
    let mqtt = pvewatch_tests::servers::free_port();
    let http = pvewatch_tests::servers::free_port();
    node.write_file(
        "/etc/pvewatch/agent.toml",
        &format!("[broker]\nurl = \"mqtt://127.0.0.1:{mqtt}\"\n"),
    );
    node.write_file(
        "/etc/pvewatch/collector.toml",
        &format!(
            "[embedded_broker]\nlisten = \"127.0.0.1:{mqtt}\"\n\
             [http]\nlisten = \"127.0.0.1:{http}\"\n"
        ),
    );
    node.shell("systemctl start pvewatch-agent pvewatch-collector");
    node
}

fn a_package_starts_its_service_as_its_own_user(suite: Suite) {
    let mut node = with_both(suite);
    let all_active = |node: &Node| {
        for name in PACKAGES {
            eventually(&format!("{name} to be active"), GENEROUS, || {
                node.run(&["systemctl", "is-active", name]).succeeded().then_some(())
            });
        }
    };
    all_active(&node);
    for name in PACKAGES {
        let pid = node.shell(&format!("systemctl show -p MainPID --value {name}"));
        assert_eq!(node.shell(&format!("ps -o user:32= -p {pid}")).trim(), name);
        assert_eq!(node.shell(&format!("systemctl is-enabled {name}")), "enabled");
    }
    // And again after a reboot, by itself.
    node.reboot();
    all_active(&node);
}

fn a_sandbox_is_as_tight_as_promised(suite: Suite) {
    let node = with_both(suite);
    for name in PACKAGES {
        let security = ["systemd-analyze", "security", "--no-pager", name];
        let report = node.succeeds(&security);
        let exposure = report.lines().last().and_then(|line| {
            let (_, after) = line.split_once(": ")?;
            let (whole, tenth) = after.split(' ').next()?.split_once('.')?;
            Some(whole.parse::<u32>().ok()? * 10 + tenth.parse::<u32>().ok()?)
        });
        assert!(exposure.is_some_and(|tenths| tenths <= EXPOSURE_MAX), "{name}: {report}");
    }
}

fn an_upgrade_keeps_what_the_administrator_changed(suite: Suite) {
    let node = with_both(suite);
    let changed = node.shell("cat /etc/pvewatch/agent.toml");
    node.succeeds(&["systemctl", "disable", "--now", "pvewatch-collector"]);
    for name in PACKAGES {
        node.install(&package(name));
    }
    assert_eq!(node.shell("cat /etc/pvewatch/agent.toml"), changed);
    assert_eq!(node.shell("systemctl is-active pvewatch-agent"), "active");
    // What was switched off stays off.
    assert_eq!(node.run(&["systemctl", "is-active", "pvewatch-collector"]).stdout, "inactive");
    assert_eq!(node.run(&["systemctl", "is-enabled", "pvewatch-collector"]).stdout, "disabled");
}

fn rules_are_read_anew_by_a_reload_of_the_service(suite: Suite) {
    let node = with_both(suite);
    let url = node.shell(
        "sed -n 's/^listen = \"\\(.*\\)\"/http:\\/\\/\\1/p' /etc/pvewatch/collector.toml | tail -n 1",
    );
    let rules = |command: &str| node.run(&["pvewatch", "rules", command, "--url", &url]);
    let is_off = || rules("list").stdout.contains("HostDown: node, off");
    eventually("the collector to answer", GENEROUS, || rules("list").succeeded().then_some(()));
    assert!(!is_off());

    let own = "/etc/pvewatch/rules.d/own.toml";
    node.shell("mkdir -p /etc/pvewatch/rules.d");
    node.write_file(own, "[[override]]\nrule = \"HostDown\"\nenabled = false\n");
    node.shell("systemctl reload pvewatch-collector");
    eventually("the rule to be off", GENEROUS, || is_off().then_some(()));

    node.write_file(own, "[[override]]\nrule = \"HostDwn\"\nenabled = false\n");
    node.shell("systemctl reload pvewatch-collector");
    let said = || node.shell("journalctl --no-pager -u pvewatch-collector");
    eventually("the mistake to be named", GENEROUS, || {
        said().contains("own.toml:2: override: there is no rule \"HostDwn\"").then_some(())
    });
    assert!(is_off(), "all stays as it was");
    let reload = rules("reload");
    assert!(
        !reload.succeeded() && reload.stderr.contains("did you mean \"HostDown\"?"),
        "{reload:?}"
    );

    node.shell(&format!("rm {own}"));
    assert!(rules("reload").succeeded());
    eventually("the rule to be on", GENEROUS, || (!is_off()).then_some(()));
}

fn a_purge_leaves_nothing_behind(suite: Suite) {
    let node = with_both(suite);
    for name in PACKAGES {
        node.succeeds(&["dpkg", "--remove", name]);
        assert_eq!(node.run(&["systemctl", "is-active", name]).stdout, "inactive");
    }
    // Configuration stays until it is purged.
    node.shell("test -e /etc/pvewatch/agent.toml; test -e /etc/pvewatch/collector.toml");
    for name in PACKAGES {
        node.succeeds(&["dpkg", "--purge", name]);
    }
    let left = node.shell("find / -xdev -name '*pvewatch*' -not -path '/proc/*' | sort");
    let expected = ["/var/cache/pvewatch-package.deb"];
    let left: Vec<&str> = left
        .lines()
        // Not theirs: the journal's own files, and what dpkg keeps of every installation.
        .filter(|path| !path.starts_with("/var/log/journal"))
        .filter(|path| !expected.contains(path))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
