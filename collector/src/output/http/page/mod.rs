//! `/`: the site on one page, for people.
//!
//! Promises: the first sentence says in words whether all is well; everything is escaped, since a
//! unit can be called anything; nothing is loaded from elsewhere; readable without scripts, which
//! only put the newest state in place. Lists have bounds, and say how much they leave out.

pub mod assets;
mod backups;
mod clusters;
mod drift;
mod events;
mod guests;
mod headline;
mod nodes;
mod storages;
mod view;

use std::sync::OnceLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, context};

use super::picture::Picture;
use crate::store::{EventFilter, EventRow};
use view::View;

pub use headline::Headline;

/// Events on the page: a screen or two.
const EVENTS_MAX: u32 = 40;

/// What a page is made from.
#[derive(Debug, Clone)]
pub struct Input {
    /// The site and the collector.
    pub picture: Picture,
    /// The newest events, the newest first.
    pub events: Vec<EventRow>,
}

/// How much of the page is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A whole document.
    Whole,
    /// The part that changes.
    Live,
}

/// Which events the page needs.
pub fn events_wanted() -> EventFilter {
    EventFilter { limit: EVENTS_MAX, ..EventFilter::default() }
}

/// Writes the page.
pub fn render(input: &Input, part: Part) -> String {
    let name = match part {
        Part::Whole => "page.html",
        Part::Live => "live.html",
    };
    let view = View::of(input);
    let written = templates()
        .get_template(name)
        .and_then(|page| page.render(context! { view => Serde(view) }));
    written.unwrap_or_else(|error| {
        log::error!("the page cannot be written: {error:#}");
        "<!doctype html><title>pvewatch</title><p>The page cannot be written: see the \
         collector's log. The API is at /api/v1/alerts."
            .to_owned()
    })
}

/// The templates, parsed once. Their names end in `.html`, so everything is escaped.
fn templates() -> &'static Environment<'static> {
    static TEMPLATES: OnceLock<Environment<'static>> = OnceLock::new();
    TEMPLATES.get_or_init(|| {
        let mut templates = Environment::new();
        if let Ok(syntax) = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build() {
            templates.set_syntax(syntax);
        }
        templates.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
        for (name, text) in [
            ("page.html", include_str!("files/page.html")),
            ("live.html", include_str!("files/live.html")),
        ] {
            if let Err(error) = templates.add_template(name, text) {
                log::error!("template {name}: {error:#}");
            }
        }
        templates
    })
}
