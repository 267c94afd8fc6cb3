//! Reads `/proc/net/dev`, a line at a time: with hundreds of guests it has thousands.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use pvewatch_protocol::sample::Interface;

use crate::host::interfaces::Interfaces;

/// The network interfaces; none where the kernel does not show them.
pub fn read(proc: &Path) -> Vec<Interface> {
    let mut interfaces = Interfaces::default();
    if let Ok(file) = File::open(proc.join("net/dev")) {
        let mut file = BufReader::new(file);
        let mut line = Vec::new();
        while file.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            interfaces.take_in(&String::from_utf8_lossy(&line));
            line.clear();
        }
    }
    interfaces.finish()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_line_that_is_no_text_is_passed_over_and_the_rest_is_read() {
        let proc = tempfile::tempdir().unwrap();
        assert_eq!(read(proc.path()), []);
        fs::create_dir(proc.path().join("net")).unwrap();
        let text = b"\xff\xfe 1 2\n eno1: 10 1 0 0 0 0 0 0 20 1 0 0 0 0 0 0\n  eno2: 1";
        fs::write(proc.path().join("net/dev"), text).unwrap();
        let names: Vec<_> = read(proc.path()).into_iter().map(|it| it.name).collect();
        assert_eq!(names, ["eno1"]);
    }
}
