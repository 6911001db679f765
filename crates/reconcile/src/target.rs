use std::collections::BTreeMap;

/// One item of a batch that could not be written: its position in the batch, and why.
pub type Failed<E> = (usize, E);

/// What a [`crate::Reconciler`] writes to.
///
/// A batch is tried as a whole: an item that fails does not keep the others from being written. Both operations must
/// be idempotent; deleting what is not there is a success.
pub trait Target<K, V> {
    /// Why an item could not be written.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Creates or overwrites each item; gives those that failed.
    fn upsert_batch(&mut self, items: &[(K, V)]) -> Vec<Failed<Self::Error>>;

    /// Deletes each key; gives those that failed.
    fn delete_batch(&mut self, keys: &[K]) -> Vec<Failed<Self::Error>>;

    /// Reads everything that is there.
    ///
    /// # Errors
    /// When the target cannot be read to its end.
    fn dump(&mut self) -> Result<Vec<(K, V)>, Self::Error>;

    /// Whether `error` of an upsert says that there is no room, so that deleting first could help.
    fn is_full(&self, error: &Self::Error) -> bool {
        let _ = error;
        false
    }
}

/// The error of a target that cannot fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoError {}

impl std::fmt::Display for NoError {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {}
    }
}

impl std::error::Error for NoError {}

/// A target in memory: for tests of owners, and for the simulated node.
#[derive(Debug, Clone, Default)]
pub struct MemoryTarget<K, V> {
    /// What was written.
    pub table: BTreeMap<K, V>,
    /// How many items were written or deleted since the start; a silent run leaves it unchanged.
    pub writes: u64,
}

impl<K: Ord + Clone, V: Clone> Target<K, V> for MemoryTarget<K, V> {
    type Error = NoError;

    fn upsert_batch(&mut self, items: &[(K, V)]) -> Vec<Failed<NoError>> {
        self.writes += items.len() as u64;
        self.table.extend(items.iter().cloned());
        Vec::new()
    }

    fn delete_batch(&mut self, keys: &[K]) -> Vec<Failed<NoError>> {
        self.writes += keys.len() as u64;
        for key in keys {
            self.table.remove(key);
        }
        Vec::new()
    }

    fn dump(&mut self) -> Result<Vec<(K, V)>, NoError> {
        Ok(self.table.iter().map(|(k, v)| (k.clone(), v.clone())).collect())
    }
}
