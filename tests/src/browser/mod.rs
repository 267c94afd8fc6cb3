//! A headless Chromium: what it makes of a page, and what the page looks like on a phone.
//!
//! A browser has no narrow windows, and the collector's page lets no other page frame it or put
//! a script into it. So [`Mirror`] hands on the page without that policy, in a frame of the
//! wanted width, with a script that measures. Nothing but these two belongs to the test: markup,
//! style and script are those of the page.

mod mirror;

use std::process::Command;

use serde::Deserialize;

pub use mirror::Mirror;

use crate::servers::system_program;

/// How long the page lives, on its own clock: it stands still while the page waits for answers.
const PAGE_MS: u32 = 12_000;

/// How long a browser may take, in seconds; a busy machine needs ten.
const LIMIT_SECONDS: &str = "180";

/// What the reader's system prefers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Dark text on a light ground.
    Light,
    /// The other way round.
    Dark,
}

/// What a page looks like after some refreshes.
#[derive(Debug, Clone, Deserialize)]
pub struct Measured {
    /// The width that it had, in CSS pixels.
    pub width: u32,
    /// How many pixels it is too wide.
    pub overflow: i64,
    /// Some of the elements that stand out on the right.
    pub beyond: Vec<String>,
    /// Whether it was told to be dark.
    pub dark: bool,
    /// How light its ground is, from 0 to 1.
    pub background: f64,
    /// Between its text and its ground, from 1 to 21.
    pub contrast: f64,
    /// The addresses of everything that it asked for.
    pub requests: Vec<String>,
    /// Whether it says that the collector does not answer.
    pub lost: bool,
    /// Its text, as it is shown.
    pub text: String,
}

/// The document of a page, after its scripts have run for a while.
///
/// # Panics
/// When there is no Chromium, or it fails.
#[track_caller]
pub fn document(url: &str, scheme: Scheme) -> String {
    let profile = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", LIMIT_SECONDS]);
    command.arg(system_program("chromium").expect("chromium"));
    command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
    command.args(["--no-first-run", "--disable-background-networking", "--disable-sync"]);
    command.arg(format!("--user-data-dir={}", profile.path().display()));
    command.arg(format!("--virtual-time-budget={PAGE_MS}"));
    if scheme == Scheme::Dark {
        command.arg("--force-dark-mode");
    }
    let output = command.args(["--dump-dom", url]).output().expect("timeout is installed");
    let document = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !document.is_empty(), "{}: {errors}", output.status);
    document
}

/// What the page of a mirror looks like at that width.
///
/// # Panics
/// When it cannot be measured.
#[track_caller]
pub fn measure(mirror: &Mirror, width: u32, scheme: Scheme) -> Measured {
    let document = document(&mirror.frame(width), scheme);
    let (_, rest) = document.split_once("<pre id=\"measured\">").unwrap_or_default();
    let (json, _) = rest.split_once("</pre>").unwrap_or_default();
    let json = json.replace("&lt;", "<").replace("&gt;", ">").replace("&nbsp;", "\u{a0}");
    let json = json.replace("&amp;", "&");
    serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {document}"))
}
