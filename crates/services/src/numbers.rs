//! Numbers of service ports.

use std::collections::{HashMap, HashSet, VecDeque};

use abi::FrontendKey;

/// The number in rows that lead nowhere (any port of an address without an entry).
pub const NO_SERVICE: u32 = u32::MAX;

/// Numbers beyond are not ours, whatever lies in the kernel.
const LIMIT: u32 = 1 << 30;

/// A number rests among this many others before it is given again: old flows and clients bound to a backend still know
/// it.
const RESTING: usize = 1024;

/// Hands out numbers of service ports.
#[derive(Debug)]
pub(crate) struct Numbers {
    /// The next that was never given.
    next: u32,
    /// Free again, oldest first.
    free: VecDeque<u32>,
    /// Given back since the last settle: rows with them are removed in the same update that would bring new ones.
    returned: Vec<u32>,
    /// What the kernel's frontends had at start, until the first settle is through.
    found: HashMap<FrontendKey, u32>,
    /// Numbers in `found` that nobody took up yet.
    unclaimed: HashSet<u32>,
}

impl Numbers {
    /// Continues with the numbers found in the kernel.
    pub(crate) fn new(found: impl IntoIterator<Item = (FrontendKey, u32)>) -> Self {
        let found: HashMap<_, _> =
            found.into_iter().filter(|(_, number)| (1..LIMIT).contains(number)).collect();
        let unclaimed: HashSet<u32> = found.values().copied().collect();
        let next = unclaimed.iter().max().map_or(1, |most| most + 1);
        Self { next, free: VecDeque::new(), returned: Vec::new(), found, unclaimed }
    }

    /// A number for the port with these frontends: the one they had, if any.
    pub(crate) fn take<'a>(&mut self, frontends: impl Iterator<Item = &'a FrontendKey>) -> u32 {
        for key in frontends {
            if let Some(number) = self.found.get(key)
                && self.unclaimed.remove(number)
            {
                return *number;
            }
        }
        if self.free.len() > RESTING
            && let Some(number) = self.free.pop_front()
        {
            return number;
        }
        let number = self.next;
        // A billion ports at once do not exist: the frontends' table ends long before.
        self.next = self.next.saturating_add(1);
        number
    }

    /// The port is gone.
    pub(crate) fn give(&mut self, number: u32) {
        self.returned.push(number);
    }

    /// All changes of a settle are through.
    pub(crate) fn settled(&mut self) {
        self.found.clear();
        let mut unclaimed: Vec<u32> = self.unclaimed.drain().collect();
        unclaimed.sort_unstable();
        self.free.extend(unclaimed);
        self.free.extend(self.returned.drain(..));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(port: u16) -> FrontendKey {
        FrontendKey { port, protocol: 6, ..FrontendKey::default() }
    }

    #[test]
    fn found_numbers_are_kept_and_others_rest() {
        let mut numbers = Numbers::new([(key(1), 5), (key(2), 9), (key(3), 0), (key(4), NO_SERVICE)]);
        assert_eq!(numbers.take([key(7), key(2)].iter()), 9);
        assert_eq!(numbers.take([key(2)].iter()), 10, "taken up already");
        assert_eq!(numbers.take([key(3), key(4)].iter()), 11, "no numbers of ours");
        numbers.settled();
        assert_eq!(numbers.take([key(1)].iter()), 12, "5 belongs to nobody after the first settle");
        for number in 100..1200 {
            numbers.give(number);
        }
        assert_eq!(numbers.take([].iter()), 13, "given back in this very settle");
        numbers.settled();
        assert_eq!((numbers.take([].iter()), numbers.take([].iter())), (5, 100));
    }
}
