//! The page's style, script, icon and guide, compiled in.

use axum::http::HeaderName;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};

/// A file with its headers.
pub type Asset = ([(HeaderName, &'static str); 2], &'static str);

/// A new version of the collector may bring other files under the same names.
const CACHED: &str = "max-age=300";

/// The style.
pub const STYLE: Asset = (
    [(CONTENT_TYPE, "text/css; charset=utf-8"), (CACHE_CONTROL, CACHED)],
    include_str!("files/page.css"),
);

/// The script that keeps the page current.
pub const SCRIPT: Asset = (
    [(CONTENT_TYPE, "text/javascript; charset=utf-8"), (CACHE_CONTROL, CACHED)],
    include_str!("files/page.js"),
);

/// How to read a failed backup, and how to restore.
pub const RESTORE_GUIDE: Asset = (
    [(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, CACHED)],
    include_str!("../../../../../docs/BACKUP-RESTORE.md"),
);

/// What policies are, and what their alerts ask for.
pub const DRIFT_GUIDE: Asset = (
    [(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, CACHED)],
    include_str!("../../../../../docs/DRIFT.md"),
);

/// The icon.
pub const ICON: Asset =
    ([(CONTENT_TYPE, "image/svg+xml"), (CACHE_CONTROL, CACHED)], include_str!("files/icon.svg"));
