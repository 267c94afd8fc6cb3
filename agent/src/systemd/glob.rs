//! Patterns for unit names, with the meaning they have in `systemctl list-units`.
//!
//! `*` is any run of characters, `?` one character, `[a-z]` and `[!a-z]` one of a set. A pattern
//! is checked and compiled once; matching allocates nothing and takes at most
//! pattern x name steps.

use serde::Deserialize;

use super::name::{UnitName, is_name_byte};

/// The longest pattern in bytes: a unit's name has at most 255.
const PATTERN_BYTES_MAX: usize = 255;

/// A checked pattern for unit names.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct UnitGlob {
    pattern: String,
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Byte(u8),
    AnyByte,
    AnyRun,
    Set { negated: bool, ranges: Vec<(u8, u8)> },
}

/// Why a pattern cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitGlobError {
    /// It is empty or longer than a unit's name can be.
    #[error("the unit pattern {0:?} is empty or longer than 255 bytes: use 1 to 255")]
    Length(String),
    /// No unit's name has this character.
    #[error(
        "the unit pattern {pattern:?} has the character {character:?}, which no unit's name has: \
         use letters, digits, : - _ . \\ @ and the wildcards * ? [...]"
    )]
    Character {
        /// The whole pattern.
        pattern: String,
        /// The character.
        character: char,
    },
    /// A set begins and never ends, or is empty or upside down.
    #[error("the unit pattern {0:?} has a set that is not complete: write it as [abc] or [a-z]")]
    Set(String),
    /// It has no wildcard and is no unit's name.
    #[error("{0:?} names no unit: add its type, such as {0}.service, or a wildcard")]
    NoType(String),
}

impl UnitGlob {
    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.pattern
    }

    /// Whether the whole of `name` fits.
    pub fn matches(&self, name: &str) -> bool {
        let name = name.as_bytes();
        let (mut token, mut at) = (0, 0);
        // Where to go on when the run of the latest `*` must be one longer.
        let mut retry: Option<(usize, usize)> = None;
        loop {
            match self.tokens.get(token) {
                Some(Token::AnyRun) => {
                    retry = Some((token + 1, at));
                    token += 1;
                    continue;
                }
                Some(single) if name.get(at).is_some_and(|byte| single.fits(*byte)) => {
                    token += 1;
                    at += 1;
                    continue;
                }
                None if at == name.len() => return true,
                _ => {}
            }
            match retry {
                Some((after_run, run_end)) if run_end < name.len() => {
                    retry = Some((after_run, run_end + 1));
                    token = after_run;
                    at = run_end + 1;
                }
                _ => return false,
            }
        }
    }
}

impl Token {
    fn fits(&self, byte: u8) -> bool {
        match self {
            Self::Byte(own) => *own == byte,
            Self::AnyByte => true,
            Self::AnyRun => false,
            Self::Set { negated, ranges } => {
                ranges.iter().any(|(low, high)| (low..=high).contains(&&byte)) != *negated
            }
        }
    }
}

impl TryFrom<String> for UnitGlob {
    type Error = UnitGlobError;

    fn try_from(pattern: String) -> Result<Self, UnitGlobError> {
        if pattern.is_empty() || pattern.len() > PATTERN_BYTES_MAX {
            return Err(UnitGlobError::Length(pattern));
        }
        let allowed = |c: char| {
            u8::try_from(c).is_ok_and(is_name_byte)
                || matches!(c, '*' | '?' | '[' | ']' | '!' | '^')
        };
        if let Some(character) = pattern.chars().find(|c| !allowed(*c)) {
            return Err(UnitGlobError::Character { pattern, character });
        }
        let mut tokens = Vec::new();
        let mut rest = pattern.as_bytes();
        while let Some((&first, after)) = rest.split_first() {
            rest = after;
            match first {
                b'*' if tokens.last() == Some(&Token::AnyRun) => {}
                b'*' => tokens.push(Token::AnyRun),
                b'?' => tokens.push(Token::AnyByte),
                b'[' => {
                    let Some((set, after_set)) = parse_set(rest) else {
                        return Err(UnitGlobError::Set(pattern));
                    };
                    tokens.push(set);
                    rest = after_set;
                }
                b']' => return Err(UnitGlobError::Set(pattern)),
                byte if is_name_byte(byte) => tokens.push(Token::Byte(byte)),
                byte => {
                    return Err(UnitGlobError::Character { pattern, character: byte.into() });
                }
            }
        }
        if tokens.iter().all(|token| matches!(token, Token::Byte(_)))
            && UnitName::new(&pattern).is_none()
        {
            return Err(UnitGlobError::NoType(pattern));
        }
        Ok(Self { pattern, tokens })
    }
}

/// Reads a set after its `[`; gives it and what follows its `]`.
fn parse_set(bytes: &[u8]) -> Option<(Token, &[u8])> {
    let negated = matches!(bytes.first(), Some(b'!' | b'^'));
    let mut at = usize::from(negated);
    let mut ranges = Vec::new();
    loop {
        let low = *bytes.get(at)?;
        if low == b']' {
            return (!ranges.is_empty()).then(|| {
                (Token::Set { negated, ranges }, bytes.get(at + 1..).unwrap_or_default())
            });
        }
        let range_end = bytes.get(at + 2).filter(|end| **end != b']');
        match (bytes.get(at + 1), range_end) {
            (Some(b'-'), Some(&high)) if low <= high => {
                ranges.push((low, high));
                at += 3;
            }
            (Some(b'-'), Some(_)) => return None,
            _ => {
                ranges.push((low, low));
                at += 1;
            }
        }
    }
}

/// Which units are watched: those that some `include` fits and no `exclude`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Patterns of units to watch.
    pub include: Vec<UnitGlob>,
    /// Patterns of units to leave out of them.
    pub exclude: Vec<UnitGlob>,
}

impl Selection {
    /// Whether the unit is watched.
    pub fn watches(&self, name: &str) -> bool {
        self.include.iter().any(|glob| glob.matches(name))
            && !self.exclude.iter().any(|glob| glob.matches(name))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn glob(pattern: &str) -> UnitGlob {
        UnitGlob::try_from(pattern.to_owned()).unwrap()
    }

    #[test]
    fn patterns_mean_what_they_mean_to_systemctl() {
        for (pattern, name, fits) in [
            ("*.service", "a.service", true),
            ("*.service", "a.timer", false),
            ("pve*.service", "pveproxy.service", true),
            ("pve*.service", "xpve.service", false),
            ("user@*.service", "user@1000.service", true),
            ("getty@tty?.service", "getty@tty1.service", true),
            ("getty@tty?.service", "getty@tty10.service", false),
            ("pve-container@10[0-5].service", "pve-container@103.service", true),
            ("pve-container@10[0-5].service", "pve-container@106.service", false),
            ("[!a-c]*.timer", "d.timer", true),
            ("[^a-c]*.timer", "a.timer", false),
            ("[a-].mount", "-.mount", true),
            ("*a*b*c.service", "xaxbxabc.service", true),
            ("*a*b*c.service", "xaxbxab.service", false),
            ("**", "anything.slice", true),
            (r"dev-disk-by\x2duuid*.swap", r"dev-disk-by\x2duuid-1.swap", true),
            ("ssh.service", "ssh.service", true),
            ("ssh.service", "sshd.service", false),
        ] {
            assert_eq!(glob(pattern).matches(name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn impossible_patterns_say_what_would_be_right() {
        let error = |pattern: &str| UnitGlob::try_from(pattern.to_owned()).unwrap_err().to_string();
        insta::assert_snapshot!(error(""), @r#"the unit pattern "" is empty or longer than 255 bytes: use 1 to 255"#);
        insta::assert_snapshot!(error("a b*"), @r#"the unit pattern "a b*" has the character ' ', which no unit's name has: use letters, digits, : - _ . \ @ and the wildcards * ? [...]"#);
        insta::assert_snapshot!(error("a[b"), @r#"the unit pattern "a[b" has a set that is not complete: write it as [abc] or [a-z]"#);
        insta::assert_snapshot!(error("ssh"), @r#""ssh" names no unit: add its type, such as ssh.service, or a wildcard"#);
        for pattern in ["a]", "[]*", "[!]*", "[z-a]*", "a!*", "é*"] {
            assert!(UnitGlob::try_from(pattern.to_owned()).is_err(), "{pattern}");
        }
    }

    #[test]
    fn an_exclude_wins_over_an_include() {
        let selection = Selection {
            include: vec![glob("*.service"), glob("*.timer")],
            exclude: vec![glob("user@*.service")],
        };
        assert!(selection.watches("a.service"));
        assert!(selection.watches("a.timer"));
        assert!(!selection.watches("user@0.service"));
        assert!(!selection.watches("a.mount"));
    }

    proptest! {
        #[test]
        fn any_pattern_is_read_and_matched_without_a_panic(
            pattern in r"[a-c*?!^\[\]@.-]{0,12}", name in "[a-c@.-]{0,20}"
        ) {
            if let Ok(glob) = UnitGlob::try_from(pattern) {
                let _ = glob.matches(&name);
            }
        }

        #[test]
        fn a_name_fits_itself_with_any_part_replaced_by_a_star(
            head in "[a-z@.-]{0,9}", middle in "[a-z@.-]{0,9}", tail in "[a-z@-]{1,9}"
        ) {
            let pattern = glob(&format!("{head}*{tail}"));
            let name = format!("{head}{middle}{tail}");
            prop_assert!(pattern.matches(&name));
        }
    }
}
