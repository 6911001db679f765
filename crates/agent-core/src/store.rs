use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Change, Keyed};

/// The objects of one kind.
#[derive(Clone, Debug)]
pub struct Store<T: Keyed> {
    objects: BTreeMap<T::Key, T>,
    synced: bool,
}

impl<T: Keyed> Default for Store<T> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), synced: false }
    }
}

impl<T: Keyed + PartialEq> Store<T> {
    /// Takes in a change; returns the names whose object is new, different or gone.
    pub fn change(&mut self, change: Change<T>) -> BTreeSet<T::Key> {
        let mut touched = BTreeSet::new();
        match change {
            Change::Apply(object) => {
                let key = object.key();
                if self.objects.get(&key) != Some(&object) {
                    self.objects.insert(key.clone(), object);
                    touched.insert(key);
                }
            }
            Change::Delete(key) => {
                if self.objects.remove(&key).is_some() {
                    touched.insert(key);
                }
            }
            Change::Reset(objects) => {
                self.synced = true;
                let fresh: BTreeMap<T::Key, T> = objects.into_iter().map(|o| (o.key(), o)).collect();
                touched.extend(self.objects.keys().filter(|k| !fresh.contains_key(k)).cloned());
                touched.extend(
                    fresh.iter().filter(|(k, o)| self.objects.get(k) != Some(*o)).map(|(k, _)| k.clone()),
                );
                self.objects = fresh;
            }
        }
        touched
    }

    /// The object of that name.
    pub fn get(&self, key: &T::Key) -> Option<&T> {
        self.objects.get(key)
    }

    /// All objects in order of names.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.objects.values()
    }

    /// All objects by name.
    pub fn objects(&self) -> &BTreeMap<T::Key, T> {
        &self.objects
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Whether a full list was taken in since the start.
    pub fn is_synced(&self) -> bool {
        self.synced
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Namespace;

    fn namespace(name: &str) -> Namespace {
        Namespace { name: name.to_owned(), ..Namespace::default() }
    }

    #[test]
    fn a_list_touches_only_differences() {
        let mut store = Store::default();
        store.change(Change::Apply(namespace("a")));
        assert!(!store.is_synced(), "one object is no list");
        store.change(Change::Reset(vec![namespace("a"), namespace("b")]));
        let touched = store.change(Change::Reset(vec![namespace("b"), namespace("c")]));
        assert_eq!(touched, BTreeSet::from(["a".to_owned(), "c".to_owned()]));
        assert!(store.is_synced() && store.len() == 2);
        assert!(store.change(Change::Apply(namespace("c"))).is_empty());
        assert_eq!(store.change(Change::Delete("c".to_owned())).len(), 1);
        assert!(store.change(Change::Delete("c".to_owned())).is_empty());
    }
}
