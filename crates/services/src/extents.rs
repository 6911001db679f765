//! An allocator of runs of slots.

use std::collections::{BTreeMap, BTreeSet};

/// Free runs of slots, neighbours always joined. The smallest run that fits is taken, so that long runs stay whole.
#[derive(Debug)]
pub(crate) struct Extents {
    /// Start → length.
    by_start: BTreeMap<u32, u32>,
    /// (length, start).
    by_length: BTreeSet<(u32, u32)>,
}

impl Extents {
    /// Slots `0..size`, all free.
    pub(crate) fn new(size: u32) -> Self {
        let mut extents = Self { by_start: BTreeMap::new(), by_length: BTreeSet::new() };
        extents.insert(0, size);
        extents
    }

    /// Takes `length` slots in a row; gives the first. `None`: no free run is long enough.
    pub(crate) fn take(&mut self, length: u32) -> Option<u32> {
        let &(found, start) = self.by_length.range((length, 0)..).next()?;
        self.remove(start, found);
        self.insert(start + length, found - length);
        Some(start)
    }

    /// Takes these slots; `false`, and nothing taken, if one of them is not free or does not exist.
    pub(crate) fn occupy(&mut self, start: u32, length: u32) -> bool {
        let Some((&at, &found)) = self.by_start.range(..=start).next_back() else { return false };
        let before = start - at;
        let Some(after) = found.checked_sub(before).and_then(|rest| rest.checked_sub(length)) else {
            return false;
        };
        self.remove(at, found);
        self.insert(at, before);
        self.insert(start + length, after);
        true
    }

    /// Gives slots back. They must have been taken.
    pub(crate) fn give(&mut self, start: u32, length: u32) {
        let (mut start, mut length) = (start, length);
        if let Some((&at, &found)) = self.by_start.range(..start).next_back()
            && at + found == start
        {
            self.remove(at, found);
            start = at;
            length += found;
        }
        if let Some(&found) = self.by_start.get(&(start + length)) {
            self.remove(start + length, found);
            length += found;
        }
        self.insert(start, length);
    }

    fn insert(&mut self, start: u32, length: u32) {
        if length > 0 {
            self.by_start.insert(start, length);
            self.by_length.insert((length, start));
        }
    }

    fn remove(&mut self, start: u32, length: u32) {
        self.by_start.remove(&start);
        self.by_length.remove(&(length, start));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn smallest_run_that_fits() {
        let mut extents = Extents::new(100);
        assert_eq!((extents.take(10), extents.take(5), extents.take(10)), (Some(0), Some(10), Some(15)));
        extents.give(0, 10);
        extents.give(10, 5);
        assert_eq!(extents.take(15), Some(0), "joined");
        extents.give(0, 10);
        assert_eq!(extents.take(75), Some(25));
        assert_eq!(extents.take(11), None);
        assert_eq!(extents.take(10), Some(0));
    }

    #[test]
    fn certain_slots() {
        let mut extents = Extents::new(100);
        assert!(extents.occupy(90, 10));
        assert!(!extents.occupy(85, 6), "taken in part");
        assert!(!extents.occupy(99, 1) && !extents.occupy(99, 2) && !extents.occupy(100, 1));
        assert!(!extents.occupy(u32::MAX, u32::MAX));
        assert!(extents.occupy(0, 90));
        assert_eq!(extents.take(1), None);
        extents.give(90, 10);
        extents.give(0, 90);
        assert_eq!(extents.take(100), Some(0));
    }

    proptest! {
        #[test]
        fn nothing_is_given_twice(ops in prop::collection::vec((any::<bool>(), 1u32..12, any::<prop::sample::Index>()), 1..200)) {
            let mut extents = Extents::new(64);
            let mut taken: Vec<(u32, u32)> = Vec::new();
            for (take, length, which) in ops {
                if take {
                    if let Some(start) = extents.take(length) {
                        prop_assert!(start + length <= 64);
                        prop_assert!(taken.iter().all(|(s, l)| start + length <= *s || s + l <= start));
                        taken.push((start, length));
                    }
                } else if !taken.is_empty() {
                    let (start, length) = taken.swap_remove(which.index(taken.len()));
                    extents.give(start, length);
                }
                let used: u32 = taken.iter().map(|(_, length)| length).sum();
                prop_assert_eq!(extents.by_start.values().sum::<u32>(), 64 - used);
                prop_assert_eq!(extents.by_start.len(), extents.by_length.len());
            }
        }
    }
}
