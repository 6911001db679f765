//! The tables that programs on packets and on sockets share.

use abi::{Addr, PolicyKey, PrefixKey};
use aya_ebpf::maps::lpm_trie::Key;

/// Key of a policy trie in the kernel's form.
#[repr(C)]
pub struct PolicyTrieKey {
    pub len: u32,
    pub key: PolicyKey,
}

#[inline(always)]
pub fn prefix_key(addr: &Addr) -> PrefixKey {
    PrefixKey { len: 128, addr: *addr }
}

/// The trie key type of the map library is this one with alignment 1; ours keeps the compiler from storing bytewise.
#[inline(always)]
pub fn as_trie_key(key: &PrefixKey) -> &Key<Addr> {
    // SAFETY: same layout (u32, then 16 bytes), weaker alignment.
    unsafe { &*(core::ptr::from_ref(key).cast()) }
}

/// The methods of [`datapath::Tables`].
macro_rules! shared_tables {
    () => {
        #[inline(always)]
        fn now(&self) -> u64 {
            // A tick's resolution is enough for lifetimes of seconds, at a third of the price (kernel 5.11).
            // SAFETY: no arguments.
            unsafe { helpers::bpf_ktime_get_coarse_ns() }
        }
        #[inline(always)]
        fn random(&mut self) -> u32 {
            if self.config().features & config::RECORD_VERDICT != 0 {
                // What the simulator's generator gives first from seed 0: a recorded run is compared with it.
                return 1_013_904_223;
            }
            // SAFETY: no arguments.
            unsafe { helpers::bpf_get_prandom_u32() }
        }
        #[inline(always)]
        fn config(&self) -> &NodeConfig {
            let mut at = &raw const CONFIG as usize;
            // Hides that this is a constant of zeros at compile time; the verifier knows the loaded values.
            // SAFETY: adds nothing to a register, which then still points to the static.
            unsafe {
                asm!("{0} += 0", inout(reg) at, options(nomem, nostack, preserves_flags));
                &*(at as *const NodeConfig)
            }
        }
        #[inline(always)]
        fn host_entry(&self, addr: &Addr) -> Option<&IpcacheEntry> {
            // SAFETY: the entry may be replaced while it is read; every field stands for itself.
            unsafe { AX_HOSTS.get(addr) }
        }
        #[inline(always)]
        fn frontend(&self, key: &FrontendKey) -> Option<&Frontend> {
            // SAFETY: the agent replaces entries as a whole.
            unsafe { AX_FRONTENDS.get(key) }
        }
        #[inline(always)]
        fn backend(&self, slot: u32) -> Option<&Backend> {
            AX_BACKENDS.get(slot)
        }
        #[inline(always)]
        fn member(&self, key: &MemberKey) -> u32 {
            // SAFETY: a single word is read.
            unsafe { AX_MEMBERS.get(key) }.copied().unwrap_or(0)
        }
        #[inline(always)]
        fn maglev(&self, table: u32, row: u32) -> Option<u32> {
            let piece = AX_MAGLEV.get(table)?.get(row / abi::service::MAGLEV_PIECE)?;
            let rows: *const u16 = core::ptr::from_ref(piece).cast();
            let mut row = row as usize;
            // Hides where the number comes from: LLVM, knowing it is small, would leave out the bound that the verifier wants.
            // SAFETY: adds nothing to a register; then an offset within the table.
            unsafe {
                asm!("{0} += 0", inout(reg) row, options(nomem, nostack, preserves_flags));
                Some(u32::from(*rows.add(row & (abi::service::MAGLEV_PIECE as usize - 1))))
            }
        }
        #[inline(always)]
        fn affinity(&self, key: &AffinityKey) -> Option<&Affinity> {
            // SAFETY: the entry may be replaced while it is read: then its backend is not among the members.
            unsafe { AX_AFFINITY.get(key) }
        }
        #[inline(always)]
        fn put_affinity(&mut self, key: &AffinityKey, value: &Affinity) {
            // Without an entry the client is bound to nobody, as after a while of silence.
            let _ = AX_AFFINITY.insert(key, value, 0);
        }
    };
}
pub(crate) use shared_tables;

/// The methods of [`datapath::Env`] that only look at maps.
macro_rules! shared_env {
    () => {
        #[inline(always)]
        fn epoch(&self) -> u32 {
            AX_EPOCH.get(0).copied().unwrap_or(0)
        }
        #[inline(always)]
        fn services_epoch(&self) -> u32 {
            AX_SERVEPOCH.get(0).copied().unwrap_or(0)
        }
        #[inline(always)]
        fn pod(&self, ifindex: u32) -> Option<&PodFacts> {
            // SAFETY: the entry may be replaced while it is read; every field stands for itself.
            unsafe { AX_PODS.get(ifindex) }
        }
        #[inline(always)]
        fn local(&self, addr: &Addr) -> Option<u32> {
            // SAFETY: a single word is read.
            unsafe { AX_LOCAL.get(addr) }.copied()
        }
        #[inline(always)]
        fn prefix_entry(&self, addr: &Addr) -> Option<&IpcacheEntry> {
            AX_PREFIXES.get(as_trie_key(&prefix_key(addr)))
        }
        #[inline(always)]
        fn never_masqueraded(&self, addr: &Addr) -> bool {
            AX_NOMASQ.get(as_trie_key(&prefix_key(addr))).is_some()
        }
        #[inline(always)]
        fn block(&self, addr: &Addr) -> u32 {
            AX_BLOCKS.get(as_trie_key(&prefix_key(addr))).copied().unwrap_or(0)
        }
        #[inline(always)]
        fn policy(&self, slot: u32, key: &PolicyKey) -> Option<&PolicyEntry> {
            let trie = AX_POLICIES.get(slot)?;
            let key = PolicyTrieKey { len: abi::tables::POLICY_FULL_BITS, key: *key };
            // SAFETY: same layout (u32, then 12 bytes), weaker alignment.
            let key: &Key<PolicyKey> = unsafe { &*(&raw const key).cast() };
            trie.get(key)
        }

        #[inline(always)]
        fn flow(&self, table: Table, key: &FlowKey) -> Option<FlowRef> {
            // Two calls: the verifier wants one map a call.
            let entry = match table {
                Table::Answered => AX_FLOWS.get_ptr_mut(key),
                Table::HalfOpen => AX_HALFOPEN.get_ptr_mut(key),
            };
            let mut flow = entry?;
            // Hides where the pointer comes from: LLVM would join "this or else that entry" with arithmetic on pointers.
            // SAFETY: moves a register to itself; a map value stays allocated while the program runs (RCU).
            unsafe {
                asm!("{0} = {0}", inout(reg) flow, options(nomem, nostack, preserves_flags));
                Some(FlowRef::new(flow))
            }
        }
        #[inline(always)]
        fn put_flow(&mut self, table: Table, key: &FlowKey, flow: &Flow) -> Result<(), DropReason> {
            let done = match table {
                Table::Answered => AX_FLOWS.insert(key, flow, 0),
                Table::HalfOpen => AX_HALFOPEN.insert(key, flow, 0),
            };
            done.map_err(|_| DropReason::CtInsertFailed)
        }
        #[inline(always)]
        fn remove_flow(&mut self, table: Table, key: &FlowKey) {
            // Gone already is as good.
            let _ = match table {
                Table::Answered => AX_FLOWS.remove(key),
                Table::HalfOpen => AX_HALFOPEN.remove(key),
            };
        }

        #[inline(always)]
        fn nat(&self, table: Table, key: &NatKey) -> Option<NatRef> {
            let entry = match table {
                Table::Answered => AX_NAT.get_ptr_mut(key),
                Table::HalfOpen => AX_NATOPEN.get_ptr_mut(key),
            };
            let mut value = entry?;
            // As for flows.
            // SAFETY: moves a register to itself; a map value stays allocated while the program runs (RCU).
            unsafe {
                asm!("{0} = {0}", inout(reg) value, options(nomem, nostack, preserves_flags));
                Some(NatRef::new(value))
            }
        }
        #[inline(always)]
        fn put_nat(&mut self, table: Table, key: &NatKey, value: &NatValue, fresh: bool) -> bool {
            let flags = if fresh { u64::from(BPF_NOEXIST) } else { 0 };
            let done = match table {
                Table::Answered => AX_NAT.insert(key, value, flags),
                Table::HalfOpen => AX_NATOPEN.insert(key, value, flags),
            };
            done.is_ok()
        }
        #[inline(always)]
        fn remove_nat(&mut self, table: Table, key: &NatKey) {
            // Gone already is as good.
            let _ = match table {
                Table::Answered => AX_NAT.remove(key),
                Table::HalfOpen => AX_NATOPEN.remove(key),
            };
        }
        #[inline(always)]
        fn in_source_ranges(&self, key: &SourceRangeKey) -> bool {
            // SAFETY: same layout (u32, then 20 bytes), weaker alignment.
            let key: &Key<SourceRange> = unsafe { &*core::ptr::from_ref(key).cast() };
            AX_RANGES.get(key).is_some()
        }
        #[inline(always)]
        fn fragment(&self, key: &FragmentKey) -> Option<FragmentPorts> {
            // SAFETY: copied at once.
            unsafe { AX_FRAGMENTS.get(key) }.copied()
        }
        #[inline(always)]
        fn put_fragment(&mut self, key: &FragmentKey, ports: FragmentPorts) {
            // Without an entry the later fragments are dropped and counted.
            let _ = AX_FRAGMENTS.insert(key, ports, 0);
        }

        #[inline(always)]
        fn monitor(&self) -> u32 {
            AX_MONITOR.get(0).copied().unwrap_or(0)
        }
    };
}
pub(crate) use shared_env;
