//! Sets of addresses.
//!
//! Kind: pure.

use std::ops::Range;

/// Disjoint ranges, by address, joined where they touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges(Vec<Range<u64>>);

impl Ranges {
    pub(super) fn new(ranges: impl IntoIterator<Item = Range<u64>>) -> Self {
        let mut all: Vec<_> = ranges
            .into_iter()
            .filter(|range| !range.is_empty())
            .collect();
        all.sort_unstable_by_key(|range| range.start);
        let mut joined: Vec<Range<u64>> = Vec::with_capacity(all.len());
        for range in all {
            match joined.last_mut() {
                Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
                _ => joined.push(range),
            }
        }
        Self(joined)
    }

    pub(super) fn one(range: Range<u64>) -> Self {
        Self::new(std::iter::once(range))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.0.iter().cloned()
    }

    /// What of `whole` is in none of them.
    pub(super) fn gaps(&self, whole: Range<u64>) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut from = whole.start;
        for range in &self.0 {
            if range.start >= whole.end {
                break;
            }
            if range.start > from {
                gaps.push(from..range.start);
            }
            from = from.max(range.end);
        }
        if from < whole.end {
            gaps.push(from..whole.end);
        }
        gaps
    }

    /// What is in both.
    pub(super) fn common(&self, other: &Self) -> Self {
        let (mut one, mut two) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut found = Vec::new();
        while let (Some(a), Some(b)) = (one.peek(), two.peek()) {
            let range = a.start.max(b.start)..a.end.min(b.end);
            if !range.is_empty() {
                found.push(range);
            }
            if a.end < b.end {
                one.next();
            } else {
                two.next();
            }
        }
        Self(found)
    }

    /// What is in these and not in the others.
    pub(super) fn without(&self, other: &Self) -> Self {
        Self(self.iter().flat_map(|range| other.gaps(range)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_joined_cut_and_complemented() {
        let set = Ranges::new([6..8, 1..3, 3..4, 10..10]);
        assert_eq!(set, Ranges(vec![1..4, 6..8]));
        assert_eq!(set.gaps(0..9), [0..1, 4..6, 8..9]);
        let other = Ranges::one(2..7);
        assert_eq!(set.common(&other), Ranges(vec![2..4, 6..7]));
        assert_eq!(set.without(&other), Ranges(vec![1..2, 7..8]));
    }
}
