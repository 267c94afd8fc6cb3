//! The storages on the page: each once, with how full it is and what lies there.

use serde::Serialize;

use super::view::Listed;
use crate::output::http::Picture;
use crate::output::http::api::{CountedStorage, StorageAnswer, StoragesAnswer, StoragesQuery};
use crate::output::http::words::{self, Tone};
use crate::rules::human;

/// Storages on the page; those that are full or cannot be used come first.
const STORAGES_MAX: usize = 100;

/// A storage.
#[derive(Debug, Serialize)]
pub struct StorageView {
    name: String,
    nodes: String,
    kind: String,
    tone: Tone,
    state: String,
    /// How much of the bar is filled, in percent.
    filled: Option<f64>,
    archives: String,
    held: String,
}

/// The storages of the site.
pub fn view(picture: &Picture) -> Listed<StorageView> {
    let query = StoragesQuery { limit: Some(STORAGES_MAX), node: None };
    // The limit is one that is possible.
    let Ok(answer) = StoragesAnswer::of(picture, &query) else { return Listed::default() };
    Listed {
        left_out: answer.total - answer.storages.len(),
        shown: answer.storages.iter().map(StorageView::of).collect(),
    }
}

impl StorageView {
    fn of(counted: &CountedStorage) -> Self {
        let storage = &counted.storage;
        let (tone, state) = words::storage(storage);
        Self {
            name: storage.storage.clone(),
            nodes: words::seen_by(counted),
            kind: storage.kind.clone(),
            tone: if counted.is_wrong() && tone == Tone::Good { Tone::Doubtful } else { tone },
            state,
            filled: storage.used_ratio.map(|ratio| (ratio * 1000.0).round() / 10.0),
            archives: archives(storage),
            held: words::held(storage),
        }
    }
}

fn archives(storage: &StorageAnswer) -> String {
    match (storage.listed_at, storage.archives) {
        (None, _) => String::new(),
        (Some(_), 1) => "1 archive".to_owned(),
        (Some(_), count) => match storage.archives_bytes {
            Some(bytes) => format!("{count} archives, {}", human::bytes(bytes as f64)),
            None => format!("{count} archives"),
        },
    }
}
