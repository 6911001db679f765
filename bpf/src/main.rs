//! Kernel programs: each builds a [`Kernel`], calls one function of `datapath`, and turns the verdict into an action.
//! No logic lives here.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod kernel;
mod maps;

use abi::{Addr, DropReason, config};
use aya_ebpf::bindings::{bpf_redir_neigh, bpf_tunnel_key};
use aya_ebpf::helpers::generated as helpers;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use core::mem::MaybeUninit;
use datapath::{Env, Verdict};

use kernel::Kernel;

/// Run the next program on this hook, then go on.
const NEXT: i32 = -1;
const SHOT: i32 = 2;
const ZERO_CHECKSUM: u64 = 2;
const PACKET_HOST: u32 = 0;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;

#[classifier]
pub fn pod_egress(ctx: TcContext) -> i32 {
    let mut kernel = Kernel { ctx };
    let verdict = datapath::pod_egress(&mut kernel);
    act::<true>(&mut kernel, verdict)
}

#[classifier]
pub fn netdev_ingress(ctx: TcContext) -> i32 {
    let mut kernel = Kernel { ctx };
    let verdict = datapath::netdev_ingress(&mut kernel);
    act::<true>(&mut kernel, verdict)
}

#[classifier]
pub fn netdev_egress(ctx: TcContext) -> i32 {
    let mut kernel = Kernel { ctx };
    let verdict = datapath::netdev_egress(&mut kernel);
    act::<false>(&mut kernel, verdict)
}

#[classifier]
pub fn overlay_ingress(ctx: TcContext) -> i32 {
    let mut kernel = Kernel { ctx };
    let verdict = datapath::overlay_ingress(&mut kernel);
    act::<true>(&mut kernel, verdict)
}

#[classifier]
pub fn host_egress(ctx: TcContext) -> i32 {
    let mut kernel = Kernel { ctx };
    let verdict = datapath::host_egress(&mut kernel);
    act::<false>(&mut kernel, verdict)
}

/// The one place where a verdict becomes an action. `INGRESS`: the hook may hand packets straight to a device's peer.
#[inline(always)]
fn act<const INGRESS: bool>(kernel: &mut Kernel, verdict: Result<Verdict, DropReason>) -> i32 {
    if kernel.config().features & config::RECORD_VERDICT != 0 {
        kernel.record(summary(&verdict));
    }
    match verdict {
        Ok(Verdict::Pass) => NEXT,
        Ok(Verdict::Stack) => {
            // The frame was addressed to a device behind this one.
            let _ = kernel.ctx.change_type(PACKET_HOST);
            NEXT
        }
        // SAFETY: plain numbers; an interface that is gone makes the kernel drop the packet.
        Ok(Verdict::Pod { ifindex }) => unsafe {
            if INGRESS { helpers::bpf_redirect_peer(ifindex, 0) as i32 } else { helpers::bpf_redirect(ifindex, 0) as i32 }
        },
        Ok(Verdict::Neighbour { ifindex, gateway }) => neighbour(ifindex, &gateway),
        Ok(Verdict::Tunnel { gateway, identity }) => tunnel(kernel, &gateway, identity),
        // SAFETY: as above.
        Ok(Verdict::Reply) => unsafe { helpers::bpf_redirect(kernel.ifindex(), 0) as i32 },
        Err(_) => SHOT,
    }
}

#[inline(always)]
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

#[inline(always)]
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

/// A verdict in four words, for test runs: kind (or 0x100 + reason), device or identity, ends of the gateway.
#[inline(always)]
fn summary(verdict: &Result<Verdict, DropReason>) -> [u32; 4] {
    match *verdict {
        Ok(Verdict::Pass) => [1, 0, 0, 0],
        Ok(Verdict::Stack) => [2, 0, 0, 0],
        Ok(Verdict::Pod { ifindex }) => [3, ifindex, 0, 0],
        Ok(Verdict::Neighbour { ifindex, gateway }) => [4, ifindex, gateway.words[3], gateway.words[0]],
        Ok(Verdict::Tunnel { gateway, identity }) => [5, identity, gateway.words[3], gateway.words[0]],
        Ok(Verdict::Reply) => [6, 0, 0, 0],
        Err(reason) => [0x100 + reason as u32, 0, 0, 0],
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual BSD/GPL\0";
