//! [`Env`] before the stack has made a buffer of the packet: the services' short cut. What only the other programs do is
//! refused here, and the packet goes on to them.

use core::arch::asm;

use abi::maps::{Counter, FragmentKey, FragmentPorts};
use abi::{Addr, Affinity, AffinityKey, Backend, DropReason, Event, Flow, FlowKey, Frontend, FrontendKey, IpcacheEntry};
use abi::{MemberKey, NatKey, NatValue, NodeConfig, PodFacts, PolicyEntry, PolicyKey, SourceRangeKey, config};
use aya_ebpf::bindings::{BPF_NOEXIST, xdp_md};
use aya_ebpf::helpers::generated as helpers;
use aya_ebpf::maps::lpm_trie::Key;
use datapath::packet::{IPV6, Packet};
use datapath::{Checksum, Env, FlowRef, Link, NatRef, Part, ROUTE_STACK, Room, Table, Tables, TunnelKey, Work, parts};

use crate::kernel::FibParams;
use crate::maps::*;
use crate::packet::{FURTHEST, load, parts, shared_bytes, store, words};
use crate::tables::{PolicyTrieKey, as_trie_key, prefix_key, shared_env, shared_tables};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const FIB_SUCCESS: i64 = 0;

/// The kernel as seen from one run of an XDP program.
pub struct Early {
    pub ctx: *mut xdp_md,
}

impl Early {
    /// Address of `size` readable bytes at `offset`, if the packet has them; as for buffers.
    #[inline(always)]
    fn at(&self, offset: u32, size: usize) -> Option<usize> {
        let offset = offset as usize;
        if offset > FURTHEST {
            return None;
        }
        let (at, end): (usize, usize);
        // 0 and 4 are `data` and `data_end` in `struct xdp_md` (stable ABI).
        // SAFETY: reads two fields of the context, adds a number below FURTHEST.
        unsafe {
            asm!(
                "{at} = *(u32 *)({ctx} + 0)",
                "{end} = *(u32 *)({ctx} + 4)",
                "{at} += {offset}",
                at = out(reg) at,
                end = out(reg) end,
                ctx = in(reg) self.ctx,
                offset = in(reg) offset,
                options(readonly, nostack, preserves_flags)
            );
        };
        if at + size > end { None } else { Some(at) }
    }

    /// Corrects a checksum by difference: equation 3 of RFC 1624 over 16-bit words. One's complement sums do not mind
    /// the order of bytes.
    #[inline(always)]
    fn fix(&mut self, offset: u32, from: u32, to: u32, keep_zero: bool) -> Result<(), DropReason> {
        let old = self.u16_at(offset)?;
        if keep_zero && old == 0 {
            return Ok(());
        }
        let mut sum = u32::from(!old) + (!from & 0xffff) + (!from >> 16) + (to & 0xffff) + (to >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        let mut new = !(sum as u16);
        if keep_zero && new == 0 {
            new = 0xffff;
        }
        self.set_u16(offset, new)
    }
}

parts! {
    *mut xdp_md, |ctx| Early { ctx };
    axe_parse = Parse,
    axe_read = Read,
    axe_find_service = FindService,
    axe_open = Open,
    axe_choose = Choose,
    axe_connect = Connect,
    axe_allocate = Allocate,
    axe_take_port = TakePort,
    axe_claim = Claim,
    axe_renew = Renew,
    axe_forget = Forget,
    axe_translate = Translate,
    axe_rewrite_source = RewriteSource,
    axe_rewrite_destination = RewriteDestination;
    else Err(DropReason::MissedTailCall)
}

impl Tables for Early {
    shared_tables!();
}

impl Env for Early {
    shared_env!();
    shared_bytes!();

    #[inline(always)]
    fn part(&mut self, part: Part, work: &mut Work) -> Result<(), DropReason> {
        call(self.ctx, part, work)
    }
    #[inline(always)]
    fn length(&self) -> u32 {
        // SAFETY: the helper reads the context (kernel 5.18).
        unsafe { helpers::bpf_xdp_get_buff_len(self.ctx) as u32 }
    }
    #[inline(always)]
    fn is_gso(&self) -> bool {
        false
    }
    #[inline(always)]
    fn pull(&mut self, _: u32) -> Result<(), DropReason> {
        Ok(())
    }
    #[inline(always)]
    fn fix_l3(&mut self, offset: u32, from: u32, to: u32) -> Result<(), DropReason> {
        self.fix(offset, from, to, false)
    }
    #[inline(always)]
    fn fix_l4(&mut self, offset: u32, from: u32, to: u32, _: u32, how: Checksum) -> Result<(), DropReason> {
        self.fix(offset, from, to, how.keep_zero)
    }
    #[inline(always)]
    fn cut(&mut self, _: u32) -> Result<(), DropReason> {
        Err(DropReason::WriteError)
    }
    #[inline(always)]
    fn make_room(&mut self, _: u32, _: Room) -> Result<(), DropReason> {
        Err(DropReason::WriteError)
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        // SAFETY: a field of the context the kernel gave us, read as a whole word.
        unsafe { core::ptr::read_volatile(&raw const (*self.ctx).ingress_ifindex) }
    }
    #[inline(always)]
    fn mark(&self) -> u32 {
        0
    }
    #[inline(always)]
    fn set_mark(&mut self, _: u32) {}

    #[inline(always)]
    fn route(&mut self, _: &Packet, _: &mut Addr) -> u32 {
        ROUTE_STACK
    }
    #[inline(always)]
    fn link(&mut self, work: &Work, out: &mut Link) -> bool {
        let v6 = work.packet.is(IPV6);
        let (source, destination) = (&work.nat.source, &work.nat.destination);
        let mut params = FibParams {
            family: if v6 { AF_INET6 } else { AF_INET },
            l4_protocol: work.packet.protocol,
            sport: 0,
            dport: 0,
            tot_len: 0,
            ifindex: self.ifindex(),
            tos: 0,
            source: if v6 { source.words } else { [source.v4_word(), 0, 0, 0] },
            destination: if v6 { destination.words } else { [destination.v4_word(), 0, 0, 0] },
            vlan: 0,
            macs: [0; 12],
        };
        let size = size_of::<FibParams>() as i32;
        // SAFETY: `params` has the layout and size of the helper's structure.
        let found = unsafe { helpers::bpf_fib_lookup(self.ctx.cast(), (&raw mut params).cast(), size, 0) };
        if found != FIB_SUCCESS {
            return false;
        }
        out.ifindex = params.ifindex;
        out.mtu = 0;
        let macs = &params.macs;
        out.from = [macs[0], macs[1], macs[2], macs[3], macs[4], macs[5]];
        out.to = [macs[6], macs[7], macs[8], macs[9], macs[10], macs[11]];
        true
    }
    #[inline(always)]
    fn tunnel_key(&mut self, _: &mut TunnelKey) -> Result<(), DropReason> {
        Err(DropReason::NoTunnelKey)
    }
    #[inline(always)]
    fn emit(&mut self, _: &mut Event) {}
    #[inline(always)]
    fn count(&mut self, reason: u8, egress: bool) {
        let index = u32::from(reason) * 2 + u32::from(egress);
        let length = u64::from(self.length());
        if let Some(counter) = AX_METRICS.get_ptr_mut(index) {
            let counter: *mut Counter = counter;
            // SAFETY: per-CPU memory.
            unsafe {
                (*counter).packets += 1;
                (*counter).bytes += length;
            }
        }
    }
}
