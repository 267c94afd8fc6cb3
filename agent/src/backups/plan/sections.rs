//! Proxmox's configuration files of sections: `jobs.cfg`, `storage.cfg`, `replication.cfg`.
//!
//! A section begins with `kind: id`, its keys follow indented, an empty line ends it; `#` begins a
//! comment, a key without a value is a flag. What is neither is skipped, as Proxmox does, which
//! logs it and goes on.

/// One section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// What it is, such as `vzdump` or `dir`.
    pub kind: String,
    /// Its name.
    pub id: String,
    keys: Vec<(String, String)>,
}

impl Section {
    /// The value of a key; the last counts. A flag has an empty one.
    pub fn get(&self, key: &str) -> Option<&str> {
        let found = self.keys.iter().rev().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str())
    }

    /// A key that is on or off, as Proxmox writes booleans; a flag is on.
    pub fn is_on(&self, key: &str) -> Option<bool> {
        let value = self.get(key)?;
        Some(value.is_empty() || is_true(value))
    }

    /// The items of a list; see [`items`].
    pub fn list(&self, key: &str) -> Vec<&str> {
        items(self.get(key).unwrap_or_default()).collect()
    }
}

/// Whether a value is one of those that Proxmox takes for true.
pub fn is_true(value: &str) -> bool {
    matches!(value, "1" | "on" | "yes" | "true")
}

/// The items of a list, which blanks, commas or semicolons part.
pub fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split([',', ';', ' ', '\t']).filter(|item| !item.is_empty())
}

/// The sections of a file, in order.
pub fn sections(text: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut is_open = false;
    for line in text.lines() {
        let content = line.trim();
        if content.is_empty() {
            is_open = false;
        } else if content.starts_with('#') {
        } else if line.starts_with([' ', '\t']) {
            if let Some(section) = sections.last_mut().filter(|_| is_open) {
                let (key, value) = content.split_once([' ', '\t']).unwrap_or((content, ""));
                section.keys.push((key.to_owned(), value.trim_start().to_owned()));
            }
        } else {
            let header = header(content);
            is_open = header.is_some();
            sections.extend(header);
        }
    }
    sections
}

fn header(line: &str) -> Option<Section> {
    let (kind, id) = line.split_once(':')?;
    let id = id.trim();
    let is_word = |word: &str| !word.is_empty() && !word.contains([' ', '\t']);
    (is_word(kind) && is_word(id)).then(|| Section {
        kind: kind.to_owned(),
        id: id.to_owned(),
        keys: Vec::new(),
    })
}

/// A comment, which Proxmox stores with `%XX` for what is not plain.
pub fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let code = rest.get(1..3).filter(|_| *byte == b'%').and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 16).ok()
        });
        bytes.push(code.unwrap_or(*byte));
        rest = if code.is_some() { &rest[3..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# made by hand
vzdump: nightly
\tcomment M%C3%BCll %3A 100%
\tschedule mon..fri 21:00
\tall 1
\texclude 900, 901;902
\tenabled 0
\tenabled 1

not a section
\tlost 1

dir: local
\tpath /var/lib/vz
\tdisable
\t# off for now
realm-sync: x
\tschedule daily
";

    #[test]
    fn sections_have_a_kind_a_name_and_keys() {
        let sections = sections(TEXT);
        let names: Vec<_> = sections.iter().map(|it| (it.kind.as_str(), it.id.as_str())).collect();
        assert_eq!(names, [("vzdump", "nightly"), ("dir", "local"), ("realm-sync", "x")]);
        let nightly = &sections[0];
        assert_eq!(nightly.get("schedule"), Some("mon..fri 21:00"));
        assert_eq!(nightly.list("exclude"), ["900", "901", "902"]);
        assert_eq!((nightly.is_on("enabled"), nightly.is_on("all")), (Some(true), Some(true)));
        assert_eq!(nightly.is_on("node"), None);
        assert_eq!(unescaped(nightly.get("comment").unwrap()), "Müll : 100%");
        assert_eq!(sections[1].is_on("disable"), Some(true));
        assert_eq!(sections[2].get("schedule"), Some("daily"));
    }

    #[test]
    fn a_file_that_is_none_has_no_sections() {
        for text in ["", "\n\n", "\tkey value", ":x\n", "a b: c\n", "a:\n\tk v\n", "\0\u{fffd}"] {
            assert_eq!(sections(text), [], "{text:?}");
        }
    }
}
