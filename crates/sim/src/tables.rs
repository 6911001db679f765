//! The tables that packets and sockets share, over a node in memory.

/// The methods of [`datapath::Tables`] for a type with a `node` field.
macro_rules! node_tables {
    () => {
        fn now(&self) -> u64 {
            self.node.now
        }
        fn random(&mut self) -> u32 {
            if self.node.config.features & abi::config::RECORD_VERDICT != 0 {
                // As the kernel's programs have it in a recorded run.
                return 1_013_904_223;
            }
            // Numerical Recipes' linear congruential generator: spread matters here, not secrecy.
            self.node.seed = self.node.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            self.node.seed
        }
        fn config(&self) -> &NodeConfig {
            &self.node.config
        }
        fn host_entry(&self, addr: &Addr) -> Option<&IpcacheEntry> {
            self.node.hosts.get(addr)
        }
        fn frontend(&self, key: &FrontendKey) -> Option<&Frontend> {
            self.node.frontends.get(key)
        }
        fn backend(&self, slot: u32) -> Option<&Backend> {
            self.node.backends.get(&slot)
        }
        fn member(&self, key: &MemberKey) -> u32 {
            self.node.members.get(key).copied().unwrap_or(0)
        }
        fn maglev(&self, table: u32, row: u32) -> Option<u32> {
            self.node.maglev.get(&table)?.get(row as usize).map(|offset| u32::from(*offset))
        }
        fn affinity(&self, key: &AffinityKey) -> Option<&Affinity> {
            self.node.affinity.get(key)
        }
        fn put_affinity(&mut self, key: &AffinityKey, value: &Affinity) {
            self.node.affinity.insert(*key, *value);
        }
    };
}
pub(crate) use node_tables;
