//! Where things lie: the checkout, the cache outside of it, the built programs and packages.

use std::env;
use std::path::{Path, PathBuf};

/// The root of the checkout.
pub fn checkout() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the crate lies in the checkout")
}

/// All files below a folder, in order; build results are left out.
///
/// # Panics
/// When a folder cannot be read.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let read = std::fs::read_dir(folder);
    let entries = read.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut found = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        if !path.is_dir() {
            found.push(path);
        } else if path.file_name().is_some_and(|name| name != "target") {
            found.extend(files_below(&path));
        }
    }
    found.sort();
    found
}

/// The folder outside the checkout for what is expensive to make and worth keeping.
pub fn cache() -> PathBuf {
    env::var_os("PVEWATCH_CACHE").map_or_else(|| "/var/cache/pvewatch".into(), PathBuf::from)
}

/// A program of this workspace, built in the same profile as the test that asks.
///
/// # Panics
/// When it is not built: `cargo build --workspace --bins` builds it.
#[track_caller]
pub fn program(name: &str) -> PathBuf {
    let test = env::current_exe().expect("a test knows its own path");
    // The test lies in `target/<profile>/deps/`, programs one folder above.
    let built = test.ancestors().nth(2).expect("a test lies in a profile's folder").join(name);
    assert!(built.exists(), "{} is missing: cargo build --workspace --bins", built.display());
    built
}

/// The folder of the built packages: `PVEWATCH_DEBS`, or `target/debian` of the checkout.
pub fn packages() -> PathBuf {
    env::var_os("PVEWATCH_DEBS").map_or_else(|| checkout().join("target/debian"), PathBuf::from)
}

/// The newest package of that name.
///
/// # Panics
/// When there is none: `./tests/run packages` builds it.
#[track_caller]
pub fn package(name: &str) -> PathBuf {
    let directory = packages();
    let prefix = format!("{name}_");
    let entries = std::fs::read_dir(&directory).into_iter().flatten().flatten();
    let candidates = entries.map(|entry| entry.path()).filter(|path| {
        let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
        file.starts_with(&prefix) && file.ends_with(".deb")
    });
    let modified = |path: &PathBuf| path.metadata().and_then(|it| it.modified()).ok();
    candidates.max_by_key(modified).unwrap_or_else(|| {
        panic!("no {prefix}*.deb in {}: run ./tests/run packages", directory.display())
    })
}
