//! The tables that programs on packets and on sockets share.

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
            let rows: *const u16 = core::ptr::from_ref(AX_MAGLEV.get(table)?.get(0)?).cast();
            let mut row = row as usize;
            // Hides where the number comes from: LLVM, knowing it is small, would leave out the bound that the verifier wants.
            // SAFETY: adds nothing to a register; then an offset within the table.
            unsafe {
                asm!("{0} += 0", inout(reg) row, options(nomem, nostack, preserves_flags));
                Some(u32::from(*rows.add(row & (MAGLEV_ROOM - 1))))
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
