//! Kernel programs: each builds a [`Kernel`], calls one function of `datapath`, and turns the verdict into an action.
//! No logic lives here.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod kernel;
mod maps;
mod packet;
mod socket;
mod tables;
mod xdp;

use abi::{Addr, DropReason, config};
use aya_ebpf::bindings::{bpf_redir_neigh, bpf_tunnel_key};
use aya_ebpf::helpers::generated as helpers;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::{TcContext, XdpContext};
use core::mem::MaybeUninit;
use datapath::{Action, Env, Tables, Verdict};

use kernel::Kernel;
use xdp::Early;

/// Run the next program on this hook, then go on.
const NEXT: i32 = -1;
const SHOT: i32 = 2;
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;
const ZERO_CHECKSUM: u64 = 2;
const PACKET_HOST: u32 = 0;
const BPF_F_INGRESS: u64 = 1;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;

/// A program: one entry point of the datapath on one kind of hook.
macro_rules! program {
    ($name:ident, ingress: $ingress:literal) => {
        #[classifier]
        pub fn $name(ctx: TcContext) -> i32 {
            let mut kernel = Kernel { ctx };
            let Some(work) = maps::AX_WORK.get_ptr_mut(0) else { return SHOT };
            // SAFETY: per-CPU memory; programs of this kind do not interrupt each other.
            let work = unsafe { &mut *work };
            let outcome = datapath::$name(&mut kernel, work);
            act::<$ingress>(&mut kernel, outcome, &work.verdict)
        }
    };
}

program!(pod_egress, ingress: true);
program!(netdev_ingress, ingress: true);
program!(netdev_egress, ingress: false);
program!(overlay_ingress, ingress: true);
program!(host_egress, ingress: false);

/// Before the stack: what only passes leaves at once, all else goes on as it came.
#[aya_ebpf::macros::xdp]
pub fn xdp_ingress(ctx: XdpContext) -> u32 {
    let mut early = Early { ctx: ctx.ctx };
    let Some(work) = maps::AX_WORK.get_ptr_mut(0) else { return XDP_PASS };
    // SAFETY: per-CPU memory; programs on packets do not interrupt each other.
    let work = unsafe { &mut *work };
    match datapath::xdp_ingress(&mut early, work) {
        // Only what was begun to be rewritten.
        Err(_) => XDP_DROP,
        Ok(()) if work.verdict.action != Action::Transmit => XDP_PASS,
        Ok(()) if work.verdict.ifindex == early.ifindex() => XDP_TX,
        // SAFETY: plain numbers; an interface that is gone makes the kernel drop the packet.
        Ok(()) => unsafe { helpers::bpf_redirect(work.verdict.ifindex, 0) as u32 },
    }
}

/// The one place where a verdict becomes an action. `INGRESS`: the hook may hand packets straight to a device's peer.
#[inline(always)]
fn act<const INGRESS: bool>(kernel: &mut Kernel, outcome: Result<(), DropReason>, verdict: &Verdict) -> i32 {
    if kernel.config().features & config::RECORD_VERDICT != 0 {
        let dropped = outcome.err().map_or(0, |reason| 0x100 + reason as u32);
        kernel.record(dropped, verdict);
    }
    if outcome.is_err() {
        return SHOT;
    }
    match verdict.action {
        Action::Pass | Action::Own => NEXT,
        Action::Stack => {
            // The frame was addressed to a device behind this one.
            let _ = kernel.ctx.change_type(PACKET_HOST);
            NEXT
        }
        // SAFETY: plain numbers; an interface that is gone makes the kernel drop the packet.
        Action::Pod if INGRESS => unsafe { helpers::bpf_redirect_peer(verdict.ifindex, 0) as i32 },
        // SAFETY: as above.
        Action::Pod => unsafe { helpers::bpf_redirect(verdict.ifindex, 0) as i32 },
        Action::Neighbour => neighbour(verdict.ifindex, &verdict.gateway),
        Action::Tunnel => tunnel(kernel, &verdict.gateway, verdict.identity),
        // Back to where it came from: on an egress hook that is up the device's other way.
        // SAFETY: as above.
        Action::Reply => unsafe {
            helpers::bpf_redirect(kernel.ifindex(), if INGRESS { 0 } else { BPF_F_INGRESS }) as i32
        },
        // Only XDP sends past the stack.
        Action::Transmit => SHOT,
    }
}

/// Out of line, as is the next: their structures would weigh on every call chain.
#[inline(never)]
fn neighbour(ifindex: u32, gateway: &Addr) -> i32 {
    // SAFETY: all zeros is a valid structure.
    let mut params: bpf_redir_neigh = unsafe { MaybeUninit::zeroed().assume_init() };
    if gateway.is_v4() {
        params.nh_family = AF_INET;
        params.__bindgen_anon_1.ipv4_nh = gateway.v4_word();
    } else {
        params.nh_family = AF_INET6;
        params.__bindgen_anon_1.ipv6_nh = gateway.words;
    }
    // SAFETY: the structure and its size.
    unsafe { helpers::bpf_redirect_neigh(ifindex, &raw mut params, size_of::<bpf_redir_neigh>() as i32, 0) as i32 }
}

#[inline(never)]
fn tunnel(kernel: &mut Kernel, gateway: &Addr, identity: u32) -> i32 {
    // SAFETY: all zeros is a valid key.
    let mut key: bpf_tunnel_key = unsafe { MaybeUninit::zeroed().assume_init() };
    key.tunnel_id = identity;
    key.tunnel_ttl = 64;
    // The helper wants host order.
    key.__bindgen_anon_1.remote_ipv4 = u32::from_be(gateway.v4_word());
    let size = size_of::<bpf_tunnel_key>() as u32;
    // SAFETY: the key and its size.
    let done = unsafe { helpers::bpf_skb_set_tunnel_key(kernel.skb(), &raw mut key, size, ZERO_CHECKSUM) };
    if done != 0 {
        kernel.count(DropReason::WriteError as u8, true);
        return SHOT;
    }
    // SAFETY: plain numbers.
    unsafe { helpers::bpf_redirect(kernel.config().tunnel_ifindex, 0) as i32 }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual BSD/GPL\0";
