//! Arrays: one value for all CPUs, or one for each.

use std::{marker::PhantomData, os::fd::AsFd as _, path::Path};

use abi::maps::Counter;
use zerocopy::IntoBytes as _;

use crate::{
    map::{Map, MapError},
    sys,
    table::{Plain, Table},
};

/// The single number of an array of one, such as the epoch and the monitor level.
#[derive(Debug)]
pub struct Scalar {
    table: Table<u32, u32>,
}

impl Scalar {
    /// Takes `map` as an array of one `u32`.
    ///
    /// # Errors
    /// When sizes differ.
    pub fn new(map: Map) -> Result<Self, MapError> {
        Ok(Scalar { table: Table::new(map)? })
    }

    /// Opens it where it is pinned.
    ///
    /// # Errors
    /// When it is not there, or was made by another version.
    pub fn open(path: &Path) -> Result<Self, MapError> {
        Self::new(Map::open(path)?)
    }

    /// The number.
    ///
    /// # Errors
    /// When the kernel refuses to read.
    pub fn get(&self) -> Result<u32, MapError> {
        Ok(self.table.get(&0)?.unwrap_or_default())
    }

    /// Sets the number; every packet from now on sees it.
    ///
    /// # Errors
    /// When the kernel refuses to write.
    pub fn set(&self, value: u32) -> Result<(), MapError> {
        self.table.insert(&0, &value)
    }

    /// Adds one (wrapping, skipping 0) and gives the new number. Only for a single writer, as the agent is of the epoch.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn bump(&self) -> Result<u32, MapError> {
        let next = self.get()?.wrapping_add(1).max(1);
        self.set(next)?;
        Ok(next)
    }
}

/// A value that adds up over CPUs.
pub trait Sum: Plain + Default {
    /// Adds `other` to this, wrapping.
    fn add(&mut self, other: &Self);
}

impl Sum for u64 {
    fn add(&mut self, other: &Self) {
        *self = self.wrapping_add(*other);
    }
}

impl Sum for Counter {
    fn add(&mut self, other: &Self) {
        self.packets = self.packets.wrapping_add(other.packets);
        self.bytes = self.bytes.wrapping_add(other.bytes);
    }
}

/// A per-CPU array, read as sums over all CPUs.
#[derive(Debug)]
pub struct PerCpu<V> {
    map: Map,
    cpus: usize,
    types: PhantomData<fn() -> V>,
}

impl<V: Sum> PerCpu<V> {
    /// Takes `map` as a per-CPU array of `V`.
    ///
    /// # Errors
    /// When it is none, or sizes differ.
    pub fn new(map: Map) -> Result<Self, MapError> {
        let spec = map.spec();
        let (key, value) = (size_of::<u32>(), size_of::<V>());
        if !spec.is_per_cpu() {
            let (key_size, value_size) = (spec.key_size, spec.value_size);
            return Err(MapError::Layout { map: map.name().to_owned(), key_size, value_size, key, value });
        }
        let map = map.expect(key, value)?;
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| map.failed("counting the CPUs")(error))?;
        Ok(PerCpu { map, cpus, types: PhantomData })
    }

    /// Opens it where it is pinned.
    ///
    /// # Errors
    /// When it is not there, or was made by another version.
    pub fn open(path: &Path) -> Result<Self, MapError> {
        Self::new(Map::open(path)?)
    }

    /// The sum of one element over all CPUs; zero beyond the end of the array.
    ///
    /// # Errors
    /// When the kernel refuses to read.
    pub fn sum(&self, index: u32) -> Result<V, MapError> {
        // The kernel gives each CPU's value a multiple of 8 bytes.
        let stride = size_of::<V>().next_multiple_of(8);
        let mut bytes = vec![0; stride * self.cpus];
        let mut sum = V::default();
        let found = sys::map_lookup(self.map.as_fd(), index.as_bytes(), &mut bytes)
            .map_err(self.map.failed("reading an element"))?;
        if found {
            for cpu in bytes.chunks_exact(stride) {
                if let Ok((value, _)) = V::read_from_prefix(cpu) {
                    sum.add(&value);
                }
            }
        }
        Ok(sum)
    }

    /// All sums, in order.
    ///
    /// # Errors
    /// When the kernel refuses to read.
    pub fn sums(&self) -> Result<Vec<V>, MapError> {
        (0..self.map.spec().max_entries).map(|index| self.sum(index)).collect()
    }
}
