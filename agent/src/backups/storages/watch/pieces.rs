//! Pieces of files on a storage. Others may write there as well: neither a link nor a pipe is
//! followed, and however large a file is, only the piece is read.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

/// The first bytes of a file; what is no UTF-8 is replaced.
///
/// # Errors
/// When it cannot be read or is no file.
pub fn beginning_of(path: &Path, bytes: u64) -> io::Result<String> {
    let (file, _) = open(path)?;
    read(file, bytes)
}

/// The last bytes of a file; what is no UTF-8 is replaced.
///
/// # Errors
/// When it cannot be read or is no file.
pub fn end_of(path: &Path, bytes: u64) -> io::Result<String> {
    let (mut file, length) = open(path)?;
    file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
    read(file, bytes)
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let flags = i32::try_from(flags).map_err(io::Error::other)?;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    Ok((file, found.len()))
}

fn read(file: File, bytes: u64) -> io::Result<String> {
    let mut piece = Vec::new();
    file.take(bytes).read_to_end(&mut piece)?;
    Ok(String::from_utf8_lossy(&piece).into_owned())
}
