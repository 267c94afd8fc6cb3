//! Patterns with `*` and `?`, as in rules and policies.

/// Whether a pattern matches a whole text: `*` stands for any characters, `?` for one byte.
pub fn matches(text: &str, pattern: &str) -> bool {
    let (text, pattern) = (text.as_bytes(), pattern.as_bytes());
    let (mut t, mut p) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[t] => {
                p += 1;
                t += 1;
            }
            // Let the last star take one byte more.
            _ => match star {
                Some((place, taken)) => {
                    star = Some((place, taken + 1));
                    p = place + 1;
                    t = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_pattern_stands_for_a_whole_text() {
        for (text, pattern, is_match) in [
            ("prod", "prod", true),
            ("prod-web", "prod*", true),
            ("prod-web", "*web", true),
            ("prod-web", "prod", false),
            ("prod1", "prod?", true),
            ("aXbXc", "a*X*c", true),
            ("", "*", true),
            ("", "?", false),
        ] {
            assert_eq!(matches(text, pattern), is_match, "{text:?} {pattern:?}");
        }
    }
}
