//! The last flows, and readers that know what they missed.

use std::collections::VecDeque;

/// Keeps the last `capacity` entries and overwrites the oldest. Entries are counted from 0 over the ring's life, and a
/// reader is just such a number, so readers cost nothing and never slow the writer.
#[derive(Clone, Debug)]
pub struct Ring<T> {
    entries: VecDeque<T>,
    capacity: usize,
    written: u64,
}

/// A reader's place: the entry it reads next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor(u64);

impl<T> Ring<T> {
    /// An empty ring with room for at least `wanted` entries, rounded up to a power of two minus one as Cilium does
    /// (4095 by default), between 1 and 65535.
    pub fn new(wanted: usize) -> Self {
        let capacity = (wanted.clamp(1, 65_535) + 1).next_power_of_two() - 1;
        Self { entries: VecDeque::with_capacity(capacity), capacity, written: 0 }
    }

    /// Adds an entry, over the oldest if the ring is full.
    pub fn push(&mut self, entry: T) {
        if self.entries.len() == self.capacity {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
        self.written += 1;
    }

    /// Entries that the ring can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Entries in the ring.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is in the ring.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Entries ever written.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Entries from oldest to newest.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> + ExactSizeIterator {
        self.entries.iter()
    }

    /// The newest entry, to add to it.
    pub fn last_mut(&mut self) -> Option<&mut T> {
        self.entries.back_mut()
    }

    /// The place of the oldest entry.
    pub fn oldest(&self) -> Cursor {
        Cursor(self.written - self.entries.len() as u64)
    }

    /// The place after the newest entry: what is written from now on.
    pub fn end(&self) -> Cursor {
        Cursor(self.written)
    }

    /// The place of the `index`th entry of [`Ring::iter`].
    pub fn at(&self, index: usize) -> Cursor {
        Cursor((self.oldest().0 + index as u64).min(self.written))
    }

    /// Reads the entry at `cursor` and moves on. The number counts entries that were overwritten before this reader
    /// came to them.
    pub fn next(&self, cursor: &mut Cursor) -> (u64, Option<&T>) {
        let oldest = self.oldest();
        let missed = oldest.0.saturating_sub(cursor.0);
        let place = cursor.0.max(oldest.0);
        let entry = usize::try_from(place - oldest.0).ok().and_then(|index| self.entries.get(index));
        cursor.0 = place + u64::from(entry.is_some());
        (missed, entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(ring: &Ring<u32>, cursor: &mut Cursor) -> (u64, Vec<u32>) {
        let (mut missed, mut seen) = (0, Vec::new());
        loop {
            let (lost, entry) = ring.next(cursor);
            missed += lost;
            match entry {
                Some(entry) => seen.push(*entry),
                None => return (missed, seen),
            }
        }
    }

    #[test]
    fn capacity_is_a_power_of_two_minus_one() {
        for (wanted, capacity) in [(0, 1), (1, 1), (2, 3), (4095, 4095), (4096, 8191), (usize::MAX, 65_535)] {
            assert_eq!(Ring::<u8>::new(wanted).capacity(), capacity, "{wanted}");
        }
    }

    #[test]
    fn readers_know_what_they_missed() {
        let mut ring = Ring::new(3);
        let mut slow = ring.oldest();
        (0..3).for_each(|n| ring.push(n));
        let mut quick = ring.oldest();
        assert_eq!(read_all(&ring, &mut quick), (0, vec![0, 1, 2]));
        (3..7).for_each(|n| ring.push(n));
        assert_eq!(read_all(&ring, &mut quick), (1, vec![4, 5, 6]));
        assert_eq!(read_all(&ring, &mut slow), (4, vec![4, 5, 6]));
        assert_eq!(read_all(&ring, &mut slow), (0, vec![]));
        assert_eq!((ring.written(), ring.len()), (7, 3));
        assert_eq!(ring.end(), slow);
    }

    #[test]
    fn reading_in_any_rhythm_loses_nothing_uncounted() {
        // Every entry is either seen or counted, whatever the rhythm of writer and reader.
        for step in 1..20_u32 {
            let mut ring = Ring::new(7);
            let mut cursor = ring.oldest();
            let (mut missed, mut seen) = (0, 0);
            for n in 0..200 {
                ring.push(n);
                if n % step == 0 {
                    let (lost, entries) = read_all(&ring, &mut cursor);
                    missed += lost;
                    seen += entries.len() as u64;
                }
            }
            let (lost, entries) = read_all(&ring, &mut cursor);
            assert_eq!(missed + seen + lost + entries.len() as u64, 200, "step {step}");
        }
    }
}
