//! Maps with keys and values of our own types.

use std::{
    marker::PhantomData,
    os::fd::AsFd as _,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use reconcile::{Failed, Target};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{
    map::{Map, MapError},
    sys,
};

/// A type whose values are their bytes, without padding: every struct of the abi, and integers.
pub trait Plain: FromBytes + IntoBytes + Immutable + Copy + Send {}
impl<T: FromBytes + IntoBytes + Immutable + Copy + Send> Plain for T {}

/// Elements a batch call moves: big enough to make the call's cost vanish, small enough to stay off the kernel's back.
pub const CHUNK: usize = 4096;

/// A hash, LRU hash, LPM trie or array with keys `K` and values `V`, one value a key.
///
/// Reads and writes of one element are atomic for everybody who looks; a batch is not. A handle may be shared between threads.
#[derive(Debug)]
pub struct Table<K, V> {
    map: Map,
    no_batch: AtomicBool,
    types: PhantomData<fn() -> (K, V)>,
}

/// Where a walk over a table stands; see [`Table::chunk`].
#[derive(Debug, Clone)]
pub struct Cursor {
    token: Vec<u8>,
    place: Place,
    size: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Start,
    Middle,
    End,
}

impl Cursor {
    /// The start of a table, to be walked `size` elements at a time.
    pub fn new(size: usize) -> Self {
        Cursor { token: Vec::new(), place: Place::Start, size: size.max(1) }
    }

    /// Whether everything was seen.
    pub fn is_done(&self) -> bool {
        self.place == Place::End
    }
}

impl Default for Cursor {
    fn default() -> Self {
        Cursor::new(CHUNK)
    }
}

impl<K: Plain, V: Plain> Table<K, V> {
    /// Takes `map` as a table of `K` and `V`.
    ///
    /// # Errors
    /// When sizes differ, or each CPU has its own value ([`crate::PerCpu`]).
    pub fn new(map: Map) -> Result<Self, MapError> {
        let spec = map.spec();
        if spec.is_per_cpu() {
            return Err(MapError::Layout {
                map: map.name().to_owned(),
                key_size: spec.key_size,
                value_size: spec.value_size,
                key: size_of::<K>(),
                value: size_of::<V>(),
            });
        }
        let map = map.expect(size_of::<K>(), size_of::<V>())?;
        Ok(Table { map, no_batch: AtomicBool::new(false), types: PhantomData })
    }

    /// Opens a pinned table.
    ///
    /// # Errors
    /// When it is not there, or was made by another version.
    pub fn open(path: &Path) -> Result<Self, MapError> {
        Self::new(Map::open(path)?)
    }

    /// The map behind.
    pub fn map(&self) -> &Map {
        &self.map
    }

    /// Whether the kernel has batch operations for this map, as far as was tried.
    pub(crate) fn has_batch(&self) -> bool {
        !self.no_batch.load(Ordering::Relaxed)
    }

    /// The value under `key`.
    ///
    /// # Errors
    /// When the kernel refuses to read.
    pub fn get(&self, key: &K) -> Result<Option<V>, MapError> {
        let mut value = V::new_zeroed();
        let found = sys::map_lookup(self.map.as_fd(), key.as_bytes(), value.as_mut_bytes());
        found.map(|found| found.then_some(value)).map_err(self.map.failed("reading an element"))
    }

    /// Creates or overwrites the value under `key`.
    ///
    /// # Errors
    /// When the table is full ([`MapError::is_full`]) or the kernel refuses.
    pub fn insert(&self, key: &K, value: &V) -> Result<(), MapError> {
        sys::map_update(self.map.as_fd(), key.as_bytes(), value.as_bytes())
            .map_err(self.map.failed("writing an element"))
    }

    /// Deletes `key`; `false` if it was not there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete(&self, key: &K) -> Result<bool, MapError> {
        sys::map_delete(self.map.as_fd(), key.as_bytes()).map_err(self.map.failed("deleting an element"))
    }

    /// The next elements of a walk. A walk sees every element that stays for its whole length, and may see an element
    /// twice, or not, that comes or goes meanwhile. An empty answer is not the end, [`Cursor::is_done`] is.
    ///
    /// # Errors
    /// When the kernel refuses to read; the cursor stays where it was.
    pub fn chunk(&self, cursor: &mut Cursor) -> Result<Vec<(K, V)>, MapError> {
        if cursor.is_done() {
            return Ok(Vec::new());
        }
        if !self.no_batch.load(Ordering::Relaxed) {
            if let Some(items) = self.batch_chunk(cursor)? {
                return Ok(items);
            }
            self.no_batch.store(true, Ordering::Relaxed);
        }
        self.single_chunk(cursor)
    }

    /// Every element.
    ///
    /// # Errors
    /// When the kernel refuses to read.
    pub fn dump(&self) -> Result<Vec<(K, V)>, MapError> {
        let mut cursor = Cursor::default();
        let mut items = Vec::new();
        while !cursor.is_done() {
            items.extend(self.chunk(&mut cursor)?);
        }
        Ok(items)
    }

    /// Every element, read a chunk at a time: for tables too big to hold.
    pub fn iter(&self) -> impl Iterator<Item = Result<(K, V), MapError>> {
        let mut cursor = Cursor::default();
        let chunks = std::iter::from_fn(move || {
            if cursor.is_done() {
                return None;
            }
            let chunk = self.chunk(&mut cursor);
            if chunk.is_err() {
                cursor.place = Place::End;
            }
            Some(chunk)
        });
        chunks.flat_map(|chunk| match chunk {
            Ok(items) => items.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        })
    }

    /// Writes each item, as few calls as the kernel allows; gives the positions that failed, and why.
    pub fn upsert_batch(&self, items: &[(K, V)]) -> Vec<Failed<MapError>> {
        let keys: Vec<K> = items.iter().map(|(key, _)| *key).collect();
        let values: Vec<V> = items.iter().map(|(_, value)| *value).collect();
        self.change_batch(&keys, Some(&values))
    }

    /// Deletes each key, as few calls as the kernel allows; gives the positions that failed, and why. A key that is not
    /// there is no failure.
    pub fn delete_batch(&self, keys: &[K]) -> Vec<Failed<MapError>> {
        self.change_batch(keys, None)
    }

    /// Deletes everything.
    ///
    /// # Errors
    /// When the kernel refuses; some elements may be gone.
    pub fn clear(&self) -> Result<(), MapError> {
        let keys: Vec<K> = self.dump()?.into_iter().map(|(key, _)| key).collect();
        self.delete_batch(&keys).into_iter().next().map_or(Ok(()), |(_, error)| Err(error))
    }

    /// `None` if the kernel has no batch reads for this map.
    fn batch_chunk(&self, cursor: &mut Cursor) -> Result<Option<Vec<(K, V)>>, MapError> {
        let start = cursor.place == Place::Start;
        let mut token = cursor.token.clone();
        token.resize(size_of::<K>().max(4), 0);
        let mut size = cursor.size;
        loop {
            let mut keys = vec![K::new_zeroed(); size];
            let mut values = vec![V::new_zeroed(); size];
            let read = sys::map_lookup_batch(
                self.map.as_fd(),
                &mut token,
                start,
                keys.as_mut_slice().as_mut_bytes(),
                values.as_mut_slice().as_mut_bytes(),
                size as u32,
            );
            match read {
                Ok((count, end)) => {
                    cursor.token = token;
                    cursor.place = if end { Place::End } else { Place::Middle };
                    return Ok(Some(keys.into_iter().zip(values).take(count as usize).collect()));
                }
                // One bucket of a hash has more elements than we have room for.
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) && size < 1 << 20 => size *= 2,
                // An element kept vanishing under the kernel's walk.
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                Err(error) if start && sys::unsupported(&error) => return Ok(None),
                Err(error) => return Err(self.map.failed("reading a batch")(error)),
            }
        }
    }

    fn single_chunk(&self, cursor: &mut Cursor) -> Result<Vec<(K, V)>, MapError> {
        let mut items = Vec::new();
        // Bounded, because the walk of an LRU starts again when its last key was evicted.
        for _ in 0..cursor.size {
            let mut next = vec![0; size_of::<K>()];
            let from = (cursor.place == Place::Middle).then_some(cursor.token.as_slice());
            let found = sys::map_next_key(self.map.as_fd(), from, &mut next)
                .map_err(self.map.failed("walking the keys"))?;
            if !found {
                cursor.place = Place::End;
                break;
            }
            (cursor.token, cursor.place) = (next, Place::Middle);
            let Ok(key) = K::read_from_bytes(&cursor.token) else { break };
            items.extend(self.get(&key)?.map(|value| (key, value)));
        }
        Ok(items)
    }

    fn change_batch(&self, keys: &[K], values: Option<&[V]>) -> Vec<Failed<MapError>> {
        let mut failed = Vec::new();
        let mut at = 0;
        while at < keys.len() {
            let end = keys.len().min(at + CHUNK);
            if self.no_batch.load(Ordering::Relaxed) || end - at == 1 {
                failed.extend(self.change_single(keys, values, at).err().map(|error| (at, error)));
                at += 1;
                continue;
            }
            let chunk = &keys[at..end];
            let (done, result) = sys::map_change_batch(
                self.map.as_fd(),
                chunk.as_bytes(),
                values.map(|values| values[at..end].as_bytes()),
                chunk.len() as u32,
            );
            at += done as usize;
            match result {
                Ok(()) => {}
                Err(error) if done == 0 && sys::unsupported(&error) => {
                    self.no_batch.store(true, Ordering::Relaxed);
                }
                // The kernel stopped at this element: get its own answer, then go on behind it.
                Err(_) if at < end => {
                    failed.extend(self.change_single(keys, values, at).err().map(|error| (at, error)));
                    at += 1;
                }
                Err(_) => {}
            }
        }
        failed
    }

    fn change_single(&self, keys: &[K], values: Option<&[V]>, at: usize) -> Result<(), MapError> {
        match values {
            Some(values) => self.insert(&keys[at], &values[at]),
            None => self.delete(&keys[at]).map(|_| ()),
        }
    }
}

impl<K: Plain + Ord, V: Plain> Target<K, V> for Table<K, V> {
    type Error = MapError;

    fn upsert_batch(&mut self, items: &[(K, V)]) -> Vec<Failed<MapError>> {
        Table::upsert_batch(self, items)
    }

    fn delete_batch(&mut self, keys: &[K]) -> Vec<Failed<MapError>> {
        Table::delete_batch(self, keys)
    }

    fn dump(&mut self) -> Result<Vec<(K, V)>, MapError> {
        Table::dump(self)
    }

    fn is_full(&self, error: &MapError) -> bool {
        error.is_full()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MapKind, MapSpec};

    /// Kernels before 5.6, and map types without batch operations.
    #[test]
    fn single_operations_do_the_same_as_batches() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return;
        }
        let spec = MapSpec::new(MapKind::BPF_MAP_TYPE_HASH, 4, 4, 100);
        let table: Table<u32, u32> = Table::new(Map::create("single", spec).expect("create")).expect("fits");
        table.no_batch.store(true, Ordering::Relaxed);
        let items: Vec<(u32, u32)> = (0..103).map(|i| (i, i * 2)).collect();
        let failed = table.upsert_batch(&items);
        assert_eq!(failed.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [100, 101, 102]);
        let mut cursor = Cursor::new(30);
        let mut seen = Vec::new();
        while !cursor.is_done() {
            seen.extend(table.chunk(&mut cursor).expect("chunk"));
        }
        seen.sort_unstable();
        assert_eq!(seen, items[..100]);
        assert!(table.delete_batch(&(50..200).collect::<Vec<_>>()).is_empty());
        assert_eq!(table.dump().expect("dump").len(), 50);
        assert!(!table.has_batch());
    }
}
