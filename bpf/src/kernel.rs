//! [`Env`] in the kernel: packet bytes through checked direct access, everything else through maps and helpers.

use core::arch::asm;
use core::mem::MaybeUninit;

use abi::maps::{Counter, FragmentKey, FragmentPorts};
use abi::{Addr, Affinity, AffinityKey, Backend, DropReason, Event, Flow, FlowKey, Frontend, FrontendKey, IpcacheEntry};
use abi::{MemberKey, NatKey, NatValue, NodeConfig, PodFacts, PolicyEntry, PolicyKey, SourceRangeKey};
use abi::{config, event};
use aya_ebpf::bindings::{__sk_buff, BPF_NOEXIST, bpf_tunnel_key};
use aya_ebpf::helpers::generated as helpers;
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::programs::TcContext;
use datapath::packet::{IPV6, Packet};
use datapath::{Checksum, Env, FlowRef, Link, NatRef, Part, ROUTE_STACK, Room, Table, Tables, TunnelKey, Verdict, Work, parts};

use crate::maps::*;
use crate::packet::{FURTHEST, load, parts, shared_bytes, store, words};
use crate::tables::{as_trie_key, prefix_key, shared_env, shared_tables, PolicyTrieKey};

const PSEUDO_HEADER: u64 = 0x10;
/// `BPF_ADJ_ROOM_NET`.
const ROOM_BEHIND_IP: u32 = 0;
/// `BPF_ADJ_ROOM_MAC`.
const ROOM_BEHIND_LINK: u32 = 1;
const AVAILABLE_DATA: u64 = 0;
const NO_WAKEUP: u64 = 1;
const FORCE_WAKEUP: u64 = 2;
/// Bytes in the event ring above which its reader is woken.
const WAKE_ABOVE: u64 = 256 << 10;
const MANGLED_ZERO: u64 = 0x20;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const FIB_SUCCESS: i64 = 0;
const FIB_NO_NEIGHBOUR: i64 = 7;

/// How to hand a record over. Waking the reader costs more than a packet's whole path. It looks by itself every few ticks of
/// its own, and is only called when much has piled up.
#[inline(always)]
pub fn wake() -> u64 {
    let piled_up = AX_EVENTS.query(AVAILABLE_DATA) > WAKE_ABOVE;
    if piled_up { FORCE_WAKEUP } else { NO_WAKEUP }
}

/// There was no room for a record.
#[inline(always)]
pub fn lost() {
    if let Some(lost) = AX_LOST.get_ptr_mut(0) {
        // SAFETY: per-CPU memory.
        unsafe { *lost += 1 };
    }
}

/// The kernel as seen from one run of a program.
pub struct Kernel {
    pub ctx: TcContext,
}

/// `struct bpf_fib_lookup` (kernel 4.18) without its unions.
#[repr(C)]
pub struct FibParams {
    pub family: u8,
    pub l4_protocol: u8,
    pub sport: u16,
    pub dport: u16,
    pub tot_len: u16,
    pub ifindex: u32,
    pub tos: u32,
    pub source: [u32; 4],
    pub destination: [u32; 4],
    pub vlan: u32,
    pub macs: [u8; 12],
}

impl Kernel {
    #[inline(always)]
    pub fn skb(&self) -> *mut __sk_buff {
        self.ctx.skb.skb
    }

    /// Address of `size` readable bytes at `offset`, if the packet has them.
    #[inline(always)]
    fn at(&self, offset: u32, size: usize) -> Option<usize> {
        let offset = offset as usize;
        if offset > FURTHEST {
            return None;
        }
        let (at, end): (usize, usize);
        // The context's fields are 32 bits wide and the verifier makes pointers of them. Written as plain loads, LLVM
        // zero-extends the value again wherever it is used twice, and turns the comparison below into arithmetic on
        // the end; the verifier refuses both. 76 and 80 are `data` and `data_end` in `struct __sk_buff` (stable ABI).
        // SAFETY: reads two fields of the context, adds a number below FURTHEST.
        unsafe {
            asm!(
                "{at} = *(u32 *)({skb} + 76)",
                "{end} = *(u32 *)({skb} + 80)",
                "{at} += {offset}",
                at = out(reg) at,
                end = out(reg) end,
                skb = in(reg) self.skb(),
                offset = in(reg) offset,
                options(readonly, nostack, preserves_flags)
            );
        };
        if at + size > end { None } else { Some(at) }
    }

    /// Leaves the verdict in the control block, where a test run reads it: `dropped` (0x100 + reason) or the action,
    /// device, identity, and the last word of the gateway.
    #[inline(always)]
    pub fn record(&mut self, dropped: u32, verdict: &Verdict) {
        let skb = self.skb();
        let what = if dropped != 0 { dropped } else { verdict.action as u32 };
        // SAFETY: the context is writable at these fields; volatile keeps the accesses whole words.
        unsafe {
            core::ptr::write_volatile(&raw mut (*skb).cb[0], what);
            core::ptr::write_volatile(&raw mut (*skb).cb[1], verdict.ifindex);
            core::ptr::write_volatile(&raw mut (*skb).cb[2], verdict.identity);
            core::ptr::write_volatile(&raw mut (*skb).cb[3], verdict.gateway.words[3]);
        }
    }
}

/// Reads a whole word of the context; LLVM must not narrow it.
macro_rules! context {
    ($self:ident . $field:ident) => {
        // SAFETY: a field of the context the kernel gave us.
        unsafe { core::ptr::read_volatile(&raw const (*$self.skb()).$field) }
    };
}

parts! {
    *mut __sk_buff, |skb| Kernel { ctx: TcContext::new(skb) };
    ax_parse = Parse,
    ax_tunnel_key = TunnelKey,
    ax_read = Read,
    ax_receiver = Receiver,
    ax_decide = Decide,
    ax_opinion = Opinion,
    ax_ask = Ask,
    ax_track = Track,
    ax_neighbour = Neighbour,
    ax_leave = Leave,
    ax_allocate = Allocate,
    ax_take_port = TakePort,
    ax_rewrite_source = RewriteSource,
    ax_rewrite_destination = RewriteDestination,
    ax_translate = Translate,
    ax_come_back = ComeBack,
    ax_claim = Claim,
    ax_renew = Renew,
    ax_forget = Forget,
    ax_find_service = FindService,
    ax_open = Open,
    ax_choose = Choose,
    ax_connect = Connect,
    ax_refuse = Refuse,
    ax_reset = Reset,
    ax_unreachable = Unreachable,
    ax_prohibit = Prohibit,
    ax_add_service = AddService,
    ax_learn_service = LearnService,
    ax_forward = Forward,
    ax_emit = Emit,
    ax_passed = Passed,
    ax_from_pod = FromPod,
    ax_from_netdev = FromNetdev,
    ax_from_overlay = FromOverlay,
    ax_from_host = FromHost,
    ax_to_node = ToNode,
    ax_from_node = FromNode,
}

impl Tables for Kernel {
    shared_tables!();
}

impl Env for Kernel {
    shared_env!();
    shared_bytes!();

    #[inline(always)]
    fn part(&mut self, part: Part, work: &mut Work) -> Result<(), DropReason> {
        call(self.skb(), part, work)
    }
    #[inline(always)]
    fn length(&self) -> u32 {
        context!(self.len)
    }
    #[inline(always)]
    fn is_gso(&self) -> bool {
        context!(self.gso_size) != 0
    }
    #[inline(always)]
    fn pull(&mut self, length: u32) -> Result<(), DropReason> {
        self.ctx.pull_data(length).map_err(|_| DropReason::InvalidPacket)
    }
    #[inline(always)]
    fn fix_l3(&mut self, offset: u32, from: u32, to: u32) -> Result<(), DropReason> {
        // SAFETY: the helper checks the offset itself.
        let done = unsafe { helpers::bpf_l3_csum_replace(self.skb(), offset, u64::from(from), u64::from(to), 4) };
        if done == 0 { Ok(()) } else { Err(DropReason::L3Checksum) }
    }
    #[inline(always)]
    fn fix_l4(&mut self, offset: u32, from: u32, to: u32, size: u32, how: Checksum) -> Result<(), DropReason> {
        let mut flags = u64::from(size);
        if how.pseudo {
            flags |= PSEUDO_HEADER;
        }
        if how.keep_zero {
            flags |= MANGLED_ZERO;
        }
        // SAFETY: the helper checks the offset itself.
        let done = unsafe { helpers::bpf_l4_csum_replace(self.skb(), offset, u64::from(from), u64::from(to), flags) };
        if done == 0 { Ok(()) } else { Err(DropReason::L4Checksum) }
    }

    #[inline(always)]
    fn cut(&mut self, length: u32) -> Result<(), DropReason> {
        // SAFETY: plain numbers; the helper checks them.
        let done = unsafe { helpers::bpf_skb_change_tail(self.skb(), length, 0) };
        if done == 0 { Ok(()) } else { Err(DropReason::WriteError) }
    }
    #[inline(always)]
    fn make_room(&mut self, length: u32, room: Room) -> Result<(), DropReason> {
        let mode = match room {
            Room::BehindLink => ROOM_BEHIND_LINK,
            Room::BehindIp => ROOM_BEHIND_IP,
        };
        // SAFETY: plain numbers; the helper checks them.
        let done = unsafe { helpers::bpf_skb_adjust_room(self.skb(), length as i32, mode, 0) };
        if done == 0 { Ok(()) } else { Err(DropReason::WriteError) }
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        context!(self.ifindex)
    }
    #[inline(always)]
    fn mark(&self) -> u32 {
        context!(self.mark)
    }
    #[inline(always)]
    fn set_mark(&mut self, mark: u32) {
        self.ctx.set_mark(mark);
    }

    #[inline(always)]
    fn route(&mut self, packet: &Packet, gateway: &mut Addr) -> u32 {
        let v6 = packet.is(IPV6);
        let ifindex = self.ifindex();
        let mut params = FibParams {
            family: if v6 { AF_INET6 } else { AF_INET },
            l4_protocol: packet.protocol,
            sport: 0,
            dport: 0,
            tot_len: 0,
            ifindex,
            tos: 0,
            source: if v6 { packet.source.words } else { [packet.source.v4_word(), 0, 0, 0] },
            destination: if v6 { packet.destination.words } else { [packet.destination.v4_word(), 0, 0, 0] },
            vlan: 0,
            macs: [0; 12],
        };
        let size = size_of::<FibParams>() as i32;
        // SAFETY: `params` has the layout and size of the helper's structure.
        let found = unsafe { helpers::bpf_fib_lookup(self.skb().cast(), (&raw mut params).cast(), size, 0) };
        if found != FIB_SUCCESS && found != FIB_NO_NEIGHBOUR {
            return ROUTE_STACK;
        }
        *gateway = if v6 { Addr { words: params.destination } } else { Addr::v4(params.destination[0]) };
        params.ifindex
    }
    #[inline(always)]
    fn link(&mut self, _: &Work, _: &mut Link) -> bool {
        false
    }
    #[inline(always)]
    fn tunnel_key(&mut self, out: &mut TunnelKey) -> Result<(), DropReason> {
        if self.config().features & config::RECORD_VERDICT != 0 {
            // A test run has no tunnel device: the harness puts the key into the control block.
            let skb = self.skb();
            // SAFETY: fields of the context, read as whole words.
            let (identity, remote) = unsafe {
                (core::ptr::read_volatile(&raw const (*skb).cb[0]), core::ptr::read_volatile(&raw const (*skb).cb[1]))
            };
            *out = TunnelKey { identity, remote: Addr::v4(remote) };
            return Ok(());
        }
        // SAFETY: all zeros is a valid key.
        let mut key: bpf_tunnel_key = unsafe { MaybeUninit::zeroed().assume_init() };
        let size = size_of::<bpf_tunnel_key>() as u32;
        // SAFETY: the helper fills at most `size` bytes.
        let done = unsafe { helpers::bpf_skb_get_tunnel_key(self.skb(), &raw mut key, size, 0) };
        if done != 0 {
            return Err(DropReason::NoTunnelKey);
        }
        // SAFETY: flags 0 asks for an IPv4 underlay, so this member of the union was written; it is in host order.
        let remote = unsafe { key.__bindgen_anon_1.remote_ipv4 }.to_be();
        *out = TunnelKey { identity: key.tunnel_id, remote: Addr::v4(remote) };
        Ok(())
    }

    #[inline(always)]
    fn emit(&mut self, event: &mut Event) {
        // SAFETY: no arguments.
        event.time = unsafe { helpers::bpf_ktime_get_ns() };
        event.ifindex = self.ifindex();
        event.length = self.length();
        let Some(mut entry) = AX_EVENTS.reserve::<Record>(0) else {
            lost();
            return;
        };
        let record: *mut Record = entry.as_mut_ptr();
        let mut wanted = event.length;
        if wanted > event::CAPTURE as u32 {
            wanted = event::CAPTURE as u32;
        }
        // SAFETY: `record` is room for a whole record; the helper writes at most CAPTURE bytes behind the header.
        unsafe {
            event.captured = 0;
            let packet = (&raw mut (*record).packet).cast();
            let mut bytes = u64::from(wanted);
            asm!("{0} += 0", inout(reg) bytes, options(nomem, nostack, preserves_flags));
            if bytes > 0 && bytes <= event::CAPTURE as u64
                && helpers::bpf_skb_load_bytes(self.skb().cast(), 0, packet, bytes as u32) == 0
            {
                event.captured = wanted;
            }
            core::ptr::write(&raw mut (*record).event, *event);
        }
        entry.submit(wake());
    }
    #[inline(always)]
    fn count(&mut self, reason: u8, egress: bool) {
        let index = u32::from(reason) * 2 + u32::from(egress);
        if let Some(counter) = AX_METRICS.get_ptr_mut(index) {
            let counter: *mut Counter = counter;
            let length = u64::from(context!(self.len));
            // SAFETY: per-CPU memory.
            unsafe {
                (*counter).packets += 1;
                (*counter).bytes += length;
            }
        }
    }
}
