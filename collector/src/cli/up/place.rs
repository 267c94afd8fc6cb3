//! Where the data of `pvewatch up` lies.

use std::ffi::OsString;
use std::path::PathBuf;

use super::UpError;

/// The folder for root.
const ROOT_FOLDER: &str = "/var/lib/pvewatch";

/// The folder that was asked for, or this user's own.
///
/// # Errors
/// When none was asked for and the user has no home.
pub fn choose(asked: Option<PathBuf>) -> Result<PathBuf, UpError> {
    let chosen = match asked {
        Some(folder) => folder,
        None => default_folder(
            rustix::process::geteuid().is_root(),
            std::env::var_os("XDG_DATA_HOME"),
            std::env::var_os("HOME"),
        )
        .ok_or(UpError::NoHome)?,
    };
    // A path that is shown should be one that can be found from elsewhere too.
    Ok(std::path::absolute(&chosen).unwrap_or(chosen))
}

/// By the XDG Base Directory Specification 0.8: relative paths in `XDG_DATA_HOME` do not count.
fn default_folder(
    is_root: bool,
    data_home: Option<OsString>,
    home: Option<OsString>,
) -> Option<PathBuf> {
    if is_root {
        return Some(PathBuf::from(ROOT_FOLDER));
    }
    let absolute = |text: OsString| Some(PathBuf::from(text)).filter(|path| path.is_absolute());
    let data_home = data_home
        .and_then(absolute)
        .or_else(|| home.and_then(absolute).map(|home| home.join(".local/share")))?;
    Some(data_home.join("pvewatch"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_lies_where_programs_of_this_user_keep_theirs() {
        let cases = [
            (true, Some("/x"), Some("/root"), Some("/var/lib/pvewatch")),
            (false, Some("/x"), Some("/home/me"), Some("/x/pvewatch")),
            (false, Some("x"), Some("/home/me"), Some("/home/me/.local/share/pvewatch")),
            (false, Some(""), Some("/home/me"), Some("/home/me/.local/share/pvewatch")),
            (false, None, Some("/home/me"), Some("/home/me/.local/share/pvewatch")),
            (false, None, None, None),
        ];
        for (is_root, data_home, home, expected) in cases {
            let folder =
                default_folder(is_root, data_home.map(OsString::from), home.map(OsString::from));
            assert_eq!(folder, expected.map(PathBuf::from), "{is_root} {data_home:?} {home:?}");
        }
    }
}
