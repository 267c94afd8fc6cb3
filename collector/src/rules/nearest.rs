//! Finds the name that was probably meant.

/// The candidate that is nearest to `text`, if any is near enough to be meant.
pub(super) fn nearest<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (text.len() / 3).max(2);
    names
        .map(|name| (distance(text, name), name))
        .filter(|(distance, name)| *distance <= allowed || (text.len() > 3 && name.contains(text)))
        .min()
        .map(|(_, name)| name)
}

/// `, did you mean "..."?` or nothing.
pub fn hint<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> String {
    nearest(text, names).map_or(String::new(), |name| format!(", did you mean {name:?}?"))
}

/// Edits that make one text of the other: insertions, deletions, replacements and swaps.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (row, a) in left.iter().enumerate() {
        let mut line = vec![row + 1];
        for (column, b) in right.iter().enumerate() {
            let replaced = above[column] + usize::from(a != b);
            let mut best = replaced.min(above[column + 1] + 1).min(line[column] + 1);
            let swapped = row > 0 && column > 0 && *a == right[column - 1] && left[row - 1] == *b;
            if swapped {
                best = best.min(before[column - 1] + 1);
            }
            line.push(best);
        }
        before = std::mem::replace(&mut above, line);
    }
    above[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_was_meant_is_found() {
        let names = ["load1", "load15", "memory_used_ratio", "presence"];
        let cases = [
            ("laod15", Some("load15")),
            ("memory_used", Some("memory_used_ratio")),
            ("presense", Some("presence")),
            ("colour", None),
        ];
        for (text, expected) in cases {
            assert_eq!(nearest(text, names.into_iter()), expected, "{text}");
        }
    }
}
