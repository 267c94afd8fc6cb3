//! The rules of the house that a compiler does not keep: who may import whom, how long a file
//! may be, and what it begins with.

use std::fs;
use std::path::Path;

use pvewatch_tests::imports::{paths, without_tests};
use pvewatch_tests::places::{checkout, files_below};

/// Longest file before its tests, in lines.
const LINES_MAX: usize = 400;

/// Crates that do I/O or read clocks, and the standard library's modules that do.
const IO: &[&str] = &[
    "axum",
    "notify",
    "rumqttc",
    "rusqlite",
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "sysinfo",
    "tokio",
    "ureq",
    "zbus",
];

/// What the files below a folder must not import, and why.
struct Rule {
    folder: &'static str,
    /// Files of the folder to which the rule does not apply.
    except: &'static [&'static str],
    forbidden: &'static [&'static [&'static str]],
    /// Whether [`IO`] is forbidden too.
    pure: bool,
    because: &'static str,
}

/// What surrounds the collector's core.
const AROUND_THE_CORE: &[&str] =
    &["crate::broker", "crate::ingest", "crate::output", "crate::run", "crate::store"];

/// What surrounds a source of the agent, but for other sources.
const AROUND_A_SOURCE: &[&str] = &["crate::app", "crate::mqtt", "pvewatch_edge::mqtt", "rumqttc"];

const RULES: &[Rule] = &[
    Rule {
        folder: "protocol/src/",
        except: &[],
        forbidden: &[&["log", "pvewatch_agent", "pvewatch_collector", "pvewatch_edge", "rustls"]],
        pure: true,
        because: "the wire is data: anybody can use it, with any runtime or none",
    },
    Rule {
        folder: "edge/src/",
        except: &[],
        forbidden: &[&["pvewatch_agent", "pvewatch_collector", "pvewatch_protocol", "zbus"]],
        pure: false,
        because: "the edge knows nothing of nodes, units and alerts",
    },
    Rule {
        folder: "agent/src/",
        except: &[],
        forbidden: &[&["pvewatch_collector"]],
        pure: false,
        because: "an agent does not need a collector to be built or run",
    },
    Rule {
        folder: "agent/src/units/",
        except: &[],
        forbidden: &[AROUND_A_SOURCE, &["crate::host", "crate::outbox"]],
        pure: false,
        because: "a source holds a reporter and knows nothing of the rest of the agent",
    },
    Rule {
        folder: "agent/src/backups/",
        except: &["read.rs", "watch/", "plan/watch/", "storages/watch/"],
        forbidden: &[AROUND_A_SOURCE, &["crate::host", "crate::outbox", "crate::units"]],
        pure: true,
        because: "what vzdump wrote is understood without reading it from anywhere",
    },
    Rule {
        folder: "agent/src/guests/",
        except: &["watch/"],
        forbidden: &[
            AROUND_A_SOURCE,
            &["crate::backups", "crate::host", "crate::outbox", "crate::units"],
        ],
        pure: true,
        because: "why a guest stopped is found out from what was read, and from nowhere else",
    },
    Rule {
        folder: "agent/src/systemd/",
        except: &["bus.rs", "calls.rs", "signal.rs"],
        forbidden: &[
            AROUND_A_SOURCE,
            &["crate::backups", "crate::guests", "crate::host", "crate::outbox", "crate::source"],
            &["crate::units"],
        ],
        pure: true,
        because: "what systemd says is understood without knowing who wants to know",
    },
    Rule {
        folder: "agent/src/host/",
        except: &[],
        forbidden: &[AROUND_A_SOURCE, &["crate::guests", "crate::outbox", "crate::units"]],
        pure: false,
        because: "a source holds a reporter and knows nothing of the rest of the agent",
    },
    Rule {
        folder: "agent/src/outbox/",
        except: &["run.rs", "run/", "spool/files.rs"],
        forbidden: &[&[
            "crate::app",
            "crate::host",
            "crate::mqtt",
            "crate::units",
            "pvewatch_edge",
        ]],
        pure: true,
        because: "outbox/run.rs alone joins queue, spool and mqtt, and files.rs alone is a disk",
    },
    Rule {
        folder: "collector/src/",
        except: &["cli/up.rs", "cli/up/"],
        forbidden: &[&["pvewatch_agent"]],
        pure: false,
        because: "only `pvewatch up` starts an agent",
    },
    Rule {
        folder: "collector/src/fleet/",
        except: &[],
        forbidden: &[AROUND_THE_CORE, &["crate::alerts", "crate::core", "crate::rules"]],
        pure: true,
        because: "the fleet is the bottom of the fold",
    },
    Rule {
        folder: "collector/src/rules/",
        except: &[],
        forbidden: &[AROUND_THE_CORE, &["crate::alerts", "crate::core"]],
        pure: false,
        because: "rules read the fleet and nothing above it",
    },
    Rule {
        folder: "collector/src/policy/",
        except: &[],
        forbidden: &[AROUND_THE_CORE, &["crate::alerts", "crate::core"]],
        pure: true,
        because: "what a policy file says is understood without reading it from anywhere",
    },
    Rule {
        folder: "collector/src/alerts/",
        except: &[],
        forbidden: &[AROUND_THE_CORE, &["crate::core"]],
        pure: true,
        because: "alerts follow from findings, and from nothing that can fail",
    },
    Rule {
        folder: "collector/src/core/",
        except: &[],
        forbidden: &[AROUND_THE_CORE],
        pure: true,
        because: "the core has no I/O and no clock",
    },
    Rule {
        folder: "collector/src/output/",
        except: &[],
        forbidden: &[&["crate::app", "crate::core::Core", "crate::core::Input", "crate::ingest"]],
        pure: false,
        because: "outputs read snapshots and stored transitions, never the core",
    },
    Rule {
        folder: "collector/src/store/",
        except: &[],
        forbidden: &[&[
            "crate::app",
            "crate::broker",
            "crate::core::Core",
            "crate::core::Input",
            "crate::ingest",
            "crate::output",
            "crate::run",
        ]],
        pure: false,
        because: "the store keeps what it is given, and decides nothing",
    },
];

/// A source file: its path in the checkout, and its text.
struct SourceFile {
    path: String,
    text: String,
}

fn source_files() -> Vec<SourceFile> {
    let folders = ["protocol", "edge", "agent", "collector", "tests"];
    let files: Vec<SourceFile> = folders
        .iter()
        .flat_map(|folder| files_below(&checkout().join(folder)))
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a source file is text");
            let path = path.strip_prefix(checkout()).expect("it lies in the checkout");
            SourceFile { path: path.display().to_string(), text }
        })
        .collect();
    assert!(files.len() > 50, "only {} source files were found", files.len());
    files
}

#[track_caller]
fn assert_none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

fn is_below(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[test]
fn modules_import_only_what_they_may_know() {
    let files = source_files();
    let mut complaints = Vec::new();
    for rule in RULES {
        let io: &[&str] = if rule.pure { IO } else { &[] };
        let forbidden: Vec<&str> = rule.forbidden.concat().into_iter().chain(io.to_vec()).collect();
        for file in &files {
            let Some(inner) = file.path.strip_prefix(rule.folder) else { continue };
            if rule.except.iter().any(|except| inner.starts_with(except)) {
                continue;
            }
            for path in paths(&file.text) {
                if let Some(forbidden) = forbidden.iter().find(|it| is_below(&path, it)) {
                    complaints.push(format!(
                        "{}: {path}: no {forbidden} here, because {}",
                        file.path, rule.because
                    ));
                }
            }
        }
    }
    assert_none(complaints);
}

#[test]
fn every_rule_on_imports_speaks_of_a_folder_that_exists() {
    let missing = RULES.iter().filter(|rule| !checkout().join(rule.folder).is_dir());
    assert_none(missing.map(|rule| rule.folder.to_owned()).collect());
}

#[test]
fn files_are_short_enough_to_be_read_at_once() {
    let is_all_tests = |file: &SourceFile| file.path.contains("/tests/");
    let too_long =
        source_files().into_iter().filter(|file| !is_all_tests(file)).filter_map(|file| {
            let lines = without_tests(&file.text).lines().count();
            (lines > LINES_MAX).then(|| format!("{}: {lines} lines before its tests", file.path))
        });
    assert_none(too_long.collect());
}

#[test]
fn every_module_begins_with_a_header() {
    let without = source_files().into_iter().filter(|file| !file.text.starts_with("//!"));
    assert_none(without.map(|file| format!("{}: begins without //!", file.path)).collect());
}

#[test]
fn nothing_is_left_unfinished_or_switched_off() {
    // Written in two parts, so that this file does not complain about itself.
    let marks = [("todo", "!("), ("unimplemented", "!("), ("dbg", "!("), ("#[ig", "nore")];
    let mut complaints = Vec::new();
    for file in source_files() {
        for (number, line) in file.text.lines().enumerate() {
            let mark = marks.iter().map(|(a, b)| format!("{a}{b}")).find(|it| line.contains(it));
            if let Some(mark) = mark {
                complaints.push(format!("{}:{}: {mark}", file.path, number + 1));
            }
        }
    }
    assert_none(complaints);
}

#[test]
fn unsafe_code_stands_in_one_file() {
    // Written in two parts, so that this file does not complain about itself.
    let mark = ["#[expect(unsafe", "_code"].concat();
    let files = source_files().into_iter().filter(|file| file.text.contains(&mark));
    let files: Vec<String> = files.map(|file| file.path).collect();
    assert_eq!(files, ["agent/src/host/watch/clock.rs"]);
}

#[test]
fn no_module_is_named_after_nothing() {
    let empty_names = ["utils", "util", "common", "helpers", "helper", "manager", "misc"];
    let named = source_files().into_iter().filter(|file| {
        let path = Path::new(&file.path).with_extension("");
        path.components().any(|part| empty_names.iter().any(|name| part.as_os_str() == *name))
    });
    assert_none(named.map(|file| file.path).collect());
}
