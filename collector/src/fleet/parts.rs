//! Puts the parts of checkpoints together, to know when a picture is complete.
//!
//! Names are enough where each part's content is applied as it comes.

use std::collections::BTreeMap;

use super::entity::Version;

/// Parts that one checkpoint may have: at 256 KiB each more than any node has to tell. A
/// checkpoint of more is applied, but never counts as complete.
pub const PARTS_MAX: u32 = 256;

/// The parts of the newest checkpoint of one source that is not complete yet.
#[derive(Debug, Clone)]
pub struct Parts<AsOf = Version, Item = String> {
    as_of: AsOf,
    of: u32,
    parts: BTreeMap<u32, Vec<Item>>,
}

impl<AsOf: Default, Item> Default for Parts<AsOf, Item> {
    fn default() -> Self {
        Self { as_of: AsOf::default(), of: 0, parts: BTreeMap::new() }
    }
}

impl<AsOf: Copy + Ord + Default, Item> Parts<AsOf, Item> {
    /// Adds a part; returns what the whole checkpoint has once all parts are there.
    ///
    /// A part of a newer checkpoint replaces what was gathered of an older one; a part of an
    /// older checkpoint is left out.
    pub fn add<Whole: FromIterator<Item>>(
        &mut self,
        as_of: AsOf,
        (part, of): (u32, u32),
        items: impl Iterator<Item = Item>,
    ) -> Option<Whole> {
        let valid = (1..=of).contains(&part) && of <= PARTS_MAX;
        if !valid || as_of < self.as_of {
            return None;
        }
        if as_of > self.as_of || of != self.of {
            *self = Self { as_of, of, ..Self::default() };
        }
        self.parts.insert(part, items.collect());
        let complete = u32::try_from(self.parts.len()).is_ok_and(|parts| parts == of);
        complete.then(|| std::mem::take(self).parts.into_values().flatten().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn version(sequence: u64) -> Version {
        Version { stream_ordinal: 1, sequence }
    }

    fn check(story: &[(u64, (u32, u32), &[&str])], expected: &[Option<&[&str]>]) {
        let mut parts: Parts = Parts::default();
        let got: Vec<_> = story
            .iter()
            .map(|(as_of, part, names)| {
                let names = names.iter().map(|name| (*name).to_owned());
                parts.add(version(*as_of), *part, names)
            })
            .collect();
        let expected: Vec<Option<BTreeSet<String>>> = expected
            .iter()
            .map(|names| names.map(|names| names.iter().map(|n| (*n).to_owned()).collect()))
            .collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn a_checkpoint_is_complete_when_all_its_parts_came_in_any_order() {
        check(&[(5, (1, 1), &["a"])], &[Some(&["a"])]);
        check(&[(5, (2, 2), &["b"]), (5, (1, 2), &["a"])], &[None, Some(&["a", "b"])]);
        check(&[(5, (1, 2), &["a"]), (5, (1, 2), &["a"])], &[None, None]);
    }

    #[test]
    fn parts_of_different_moments_are_never_mixed() {
        check(
            &[(5, (1, 2), &["old"]), (6, (1, 2), &["a"]), (5, (2, 2), &["old"]), (6, (2, 2), &[])],
            &[None, None, None, Some(&["a"])],
        );
    }

    #[test]
    fn impossible_parts_complete_nothing() {
        check(&[(5, (0, 1), &[]), (5, (2, 1), &[]), (5, (1, 100_000), &[])], &[None, None, None]);
    }
}
