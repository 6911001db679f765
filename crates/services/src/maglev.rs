//! Maglev tables: consistent hashing that all nodes compute alike.
//!
//! The filling is that of Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer" (NSDI 2016),
//! §3.4: backends take turns in claiming the next free entry of their own permutation of all entries.

use std::sync::Arc;

use abi::Backend;

/// An entry that nobody has claimed.
const FREE: u16 = u16::MAX;
/// Claims that [`Table::agrees_with`] repeats. Each agrees by chance at most half of the time.
const SAMPLE: usize = 64;

/// A Maglev table that is yet to be computed: with the usual 16,381 entries it costs a fraction of a millisecond and
/// 32 KiB, so the one who writes it does it, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    backends: Arc<[Backend]>,
    hashing: Hashing,
}

/// What all tables of all nodes have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hashing {
    pub(crate) seed: u64,
    /// Entries of a table, one of [`abi::service::MAGLEV_SIZES`].
    pub(crate) size: u32,
}

impl Hashing {
    fn entries(self) -> usize {
        usize::try_from(self.size).unwrap_or(usize::MAX)
    }

    /// More backends than entries cannot all be chosen, nor such as an entry cannot name.
    pub(crate) fn max_backends(self) -> usize {
        self.entries().min(usize::from(FREE))
    }
}

impl Table {
    /// The table of a range of backends. At most [`Hashing::max_backends`] of them have a share in it.
    pub(crate) fn new(backends: Arc<[Backend]>, hashing: Hashing) -> Self {
        Self { backends, hashing }
    }

    /// The backends, in the order of their slots.
    pub fn backends(&self) -> &[Backend] {
        &self.backends
    }

    /// Its entries, each the offset of a backend in the range.
    pub fn entries(&self) -> Vec<u16> {
        self.fill(self.hashing.entries())
    }

    /// Whether `found` was computed from the same backends (those are known to be equal already) with the same seed by
    /// this algorithm. A sample tells: telling all would cost as much as writing the table anew.
    pub(crate) fn agrees_with(&self, found: &[u16]) -> bool {
        found.len() == self.hashing.entries()
            && self.fill(SAMPLE).iter().zip(found).all(|(own, found)| *own == FREE || own == found)
    }

    /// The first `claims` claims.
    fn fill(&self, claims: usize) -> Vec<u16> {
        let mut entries = vec![FREE; self.hashing.entries()];
        let mut walks: Vec<Walk> =
            self.backends.iter().map(|backend| Walk::new(backend, self.hashing)).collect();
        walks.truncate(self.hashing.max_backends());
        let mut left = if walks.is_empty() { 0 } else { claims.min(entries.len()) };
        while left > 0 {
            for (offset, walk) in (0..FREE).zip(&mut walks).take(left) {
                let entry = walk.next_free(&entries);
                entries[entry] = offset;
                left -= 1;
            }
        }
        entries
    }
}

/// A backend's way through its permutation of the entries.
struct Walk {
    at: usize,
    step: usize,
}

impl Walk {
    fn new(backend: &Backend, hashing: Hashing) -> Self {
        let first = hash(backend, hashing.seed);
        let second = mix(first.wrapping_add(GOLDEN));
        // The size is prime, so any step from 1 to size - 1 visits every entry.
        let size = u64::from(hashing.size);
        Self { at: index(first % size), step: index(second % (size - 1)) + 1 }
    }

    fn next_free(&mut self, entries: &[u16]) -> usize {
        while entries[self.at] != FREE {
            self.advance(entries.len());
        }
        let found = self.at;
        self.advance(entries.len());
        found
    }

    fn advance(&mut self, size: usize) {
        self.at += self.step;
        if self.at >= size {
            self.at -= size;
        }
    }
}

/// Below a table's size, hence no truncation.
fn index(value: u64) -> usize {
    usize::try_from(value).unwrap_or(0)
}

/// 2^64 divided by the golden ratio, the increment of SplitMix64.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Address and port, 16 bytes and 2, in numeric (not in memory) order, so that machines of either byte order agree: each
/// 64-bit part goes through a step of SplitMix64.
fn hash(backend: &Backend, seed: u64) -> u64 {
    let [a, b, c, d] = backend.addr.words.map(|word| u64::from(u32::from_be(word)));
    let port = u64::from(u16::from_be(backend.port));
    [a << 32 | b, c << 32 | d, port]
        .into_iter()
        .fold(seed, |state, part| mix((state ^ part).wrapping_add(GOLDEN)))
}

/// The output function of SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014,
/// with the constants of David Stafford's "Mix13"): a bijection in which each bit of input flips each bit of output half
/// of the time.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
