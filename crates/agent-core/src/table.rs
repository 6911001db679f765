use std::collections::{BTreeMap, BTreeSet};

/// A desired table that remembers which keys changed since it was last drained, so that a change costs what it
/// touches and not what the table holds.
#[derive(Clone, Debug)]
pub struct Table<K, V> {
    rows: BTreeMap<K, V>,
    touched: BTreeSet<K>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), touched: BTreeSet::new() }
    }
}

impl<K: Ord + Clone, V: PartialEq> Table<K, V> {
    /// Sets a row; equal content touches nothing.
    pub fn set(&mut self, key: K, value: V) {
        if self.rows.get(&key) != Some(&value) {
            self.touched.insert(key.clone());
            self.rows.insert(key, value);
        }
    }

    /// Sets the row, or removes it.
    pub fn put(&mut self, key: K, value: Option<V>) {
        match value {
            Some(value) => self.set(key, value),
            None => self.remove(&key),
        }
    }

    /// Removes a row; a missing one touches nothing.
    pub fn remove(&mut self, key: &K) {
        if self.rows.remove(key).is_some() {
            self.touched.insert(key.clone());
        }
    }

    /// Counts a row as changed although it is not: somebody else took it away outside.
    pub fn touch(&mut self, key: &K) {
        if self.rows.contains_key(key) {
            self.touched.insert(key.clone());
        }
    }

    /// Makes the table hold exactly `rows`.
    pub fn replace(&mut self, rows: BTreeMap<K, V>) {
        let gone: Vec<K> = self.rows.keys().filter(|k| !rows.contains_key(k)).cloned().collect();
        for key in &gone {
            self.remove(key);
        }
        for (key, value) in rows {
            self.set(key, value);
        }
    }

    /// The row of `key`.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key)
    }

    /// All rows in key order.
    pub fn rows(&self) -> &BTreeMap<K, V> {
        &self.rows
    }

    /// Whether any key changed since the last drain.
    pub fn is_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    /// The keys that changed since the last call.
    pub fn drain_touched(&mut self) -> BTreeSet<K> {
        std::mem::take(&mut self.touched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_real_changes_touch() {
        let mut table = Table::default();
        table.set(1, "a");
        table.set(2, "b");
        assert_eq!(table.drain_touched(), BTreeSet::from([1, 2]));
        table.set(1, "a");
        table.remove(&9);
        assert!(!table.is_touched());
        table.replace(BTreeMap::from([(1, "a"), (3, "c")]));
        assert_eq!(table.drain_touched(), BTreeSet::from([2, 3]));
        assert_eq!(table.rows(), &BTreeMap::from([(1, "a"), (3, "c")]));
    }
}
