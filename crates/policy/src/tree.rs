//! Keys as the tree that "covers" makes of them.

use crate::table::L4Key;

/// A key with everything that covers it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) key: L4Key,
    /// Place of the next broader key.
    pub(crate) parent: Option<usize>,
    /// The rules of this and all broader keys, as far as they were kept.
    pub(crate) covering: Vec<u32>,
}

/// Sorts keys with their rules into a tree, broader before narrower. A key without a rule makes a node, too. `keep` may
/// take rules out of what covers a node; they will not be seen below it either.
pub(crate) fn build(mut items: Vec<(L4Key, Option<u32>)>, keep: impl Fn(&mut Vec<u32>)) -> Vec<Node> {
    // The order of keys puts every key behind those that cover it, and before all that lie beside it.
    items.sort_unstable();
    items.dedup();
    let mut nodes: Vec<Node> = Vec::with_capacity(items.len());
    let mut above: Vec<usize> = Vec::new();
    for chunk in items.chunk_by(|a, b| a.0 == b.0) {
        let key = chunk[0].0;
        while above.last().is_some_and(|last| !nodes[*last].key.covers(&key)) {
            above.pop();
        }
        let parent = above.last().copied();
        let mut covering = parent.map_or_else(Vec::new, |parent| nodes[parent].covering.clone());
        covering.extend(chunk.iter().filter_map(|(_, rule)| *rule));
        covering.sort_unstable();
        covering.dedup();
        keep(&mut covering);
        above.push(nodes.len());
        nodes.push(Node { key, parent, covering });
    }
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_knows_what_covers_it() {
        let keys = [
            L4Key::port(6, 80),
            L4Key::ANY,
            L4Key { protocol: 6, port: 80, bits: 20 },
            L4Key::port(6, 83),
            L4Key::port(17, 80),
            L4Key::protocol(6),
        ];
        let items = keys.iter().enumerate().map(|(i, key)| (*key, Some(i as u32))).collect();
        let nodes = build(items, |_| {});
        let covering = |key: L4Key| nodes.iter().find(|node| node.key == key).unwrap().covering.clone();
        assert_eq!(covering(L4Key::ANY), [1]);
        assert_eq!(covering(L4Key::port(6, 80)), [0, 1, 2, 5]);
        assert_eq!(covering(L4Key::port(6, 83)), [1, 2, 3, 5]);
        assert_eq!(covering(L4Key::port(17, 80)), [1, 4]);
    }
}
