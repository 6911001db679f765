//! Programs on sockets, at the root of the node's cgroups: they see the addresses that programs name before any packet
//! is made.

use core::arch::asm;

use abi::{Addr, Affinity, AffinityKey, Backend, Frontend, FrontendKey, IpcacheEntry, MemberKey, NodeConfig};
use abi::event::IPV6;
use abi::{Event, EventKind, SocketEvent, SocketKey, SocketPoint, SocketValue, config};
use aya_ebpf::bindings::{bpf_sock, bpf_sock_addr};
use aya_ebpf::helpers::generated as helpers;
use aya_ebpf::macros::{cgroup_sock, cgroup_sock_addr};
use aya_ebpf::programs::{SockAddrContext, SockContext};
use datapath::socket::{Answer, connect, may_bind, spoken_to, told};
use datapath::{Socket, Tables, service::Target};

use crate::kernel::{lost, wake};
use crate::maps::*;
use crate::tables::shared_tables;

const AF_INET: u32 = 2;
const GO_ON: i32 = 1;
const REJECT: i32 = 0;
const ECONNREFUSED: i32 = -111;
const ENOMEM: i32 = -12;

/// A call that names or asks for a peer. `V6`: the socket speaks IPv6 (to which IPv4 addresses are mapped ones).
struct Call<const V6: bool>(*mut bpf_sock_addr);

/// Reads a whole word of the context; LLVM must not narrow it.
macro_rules! word {
    ($ctx:expr, $($field:tt)+) => {
        // SAFETY: a field of the context the kernel gave us.
        unsafe { core::ptr::read_volatile(&raw const (*$ctx).$($field)+) }
    };
}

impl<const V6: bool> Tables for Call<V6> {
    shared_tables!();
}

impl<const V6: bool> Socket for Call<V6> {
    #[inline(always)]
    fn protocol(&self) -> u8 {
        word!(self.0, protocol) as u8
    }
    #[inline(always)]
    fn address(&self) -> Addr {
        if !V6 {
            return Addr::v4(word!(self.0, user_ip4));
        }
        let words = [
            word!(self.0, user_ip6[0]),
            word!(self.0, user_ip6[1]),
            word!(self.0, user_ip6[2]),
            word!(self.0, user_ip6[3]),
        ];
        Addr { words }
    }
    #[inline(always)]
    fn port(&self) -> u16 {
        word!(self.0, user_port) as u16
    }
    #[inline(always)]
    fn set_peer(&mut self, addr: &Addr, port: u16) {
        // SAFETY: fields of the context that programs of this kind may write, as whole words.
        unsafe {
            if V6 {
                core::ptr::write_volatile(&raw mut (*self.0).user_ip6[0], addr.words[0]);
                core::ptr::write_volatile(&raw mut (*self.0).user_ip6[1], addr.words[1]);
                core::ptr::write_volatile(&raw mut (*self.0).user_ip6[2], addr.words[2]);
                core::ptr::write_volatile(&raw mut (*self.0).user_ip6[3], addr.words[3]);
            } else {
                core::ptr::write_volatile(&raw mut (*self.0).user_ip4, addr.v4_word());
            }
            core::ptr::write_volatile(&raw mut (*self.0).user_port, u32::from(port));
        }
    }
    #[inline(always)]
    fn cookie(&self) -> u64 {
        // SAFETY: the helper reads the context.
        unsafe { helpers::bpf_get_socket_cookie(self.0.cast()) }
    }
    #[inline(always)]
    fn namespace(&self) -> u64 {
        // SAFETY: the helper reads the context.
        unsafe { helpers::bpf_get_netns_cookie(self.0.cast()) }
    }
    #[inline(always)]
    fn asked(&self, key: &SocketKey) -> Option<&SocketValue> {
        // SAFETY: written once for a key.
        unsafe { AX_SOCKETS.get(key) }
    }
    #[inline(always)]
    fn put_asked(&mut self, key: &SocketKey, value: &SocketValue) -> bool {
        AX_SOCKETS.insert(key, value, 0).is_ok()
    }
    #[inline(always)]
    fn monitor(&self) -> u32 {
        AX_MONITOR.get(0).copied().unwrap_or(0)
    }
    #[inline(always)]
    fn tell(&mut self, point: SocketPoint, addr: &Addr, port: u16) {
        let socket = SocketEvent {
            cookie: self.cookie(),
            // SAFETY: no arguments.
            cgroup: unsafe { helpers::bpf_get_current_cgroup_id() },
            namespace: self.namespace(),
            addr: *addr,
            port,
            protocol: self.protocol(),
            _pad: [0; 5],
        };
        let event = Event {
            // SAFETY: no arguments.
            time: unsafe { helpers::bpf_ktime_get_ns() },
            kind: EventKind::TraceSock as u8,
            code: point as u8,
            flags: if addr.is_v4() { 0 } else { IPV6 },
            captured: size_of::<SocketEvent>() as u32,
            ..Event::EMPTY
        };
        match AX_EVENTS.reserve::<SocketRecord>(0) {
            None => lost(),
            Some(mut entry) => {
                entry.write(SocketRecord { event, socket });
                entry.submit(wake());
            }
        }
    }
}

#[inline(always)]
fn name<const V6: bool>(ctx: &SockAddrContext) -> i32 {
    let error = match connect(&mut Call::<V6>(ctx.sock_addr)) {
        Answer::Proceed => return GO_ON,
        Answer::Refused => ECONNREFUSED,
        Answer::NoMemory => ENOMEM,
    };
    // SAFETY: a plain number (kernel 5.18; without it the caller sees EPERM).
    unsafe { helpers::bpf_set_retval(error) };
    REJECT
}

#[inline(always)]
fn ask<const V6: bool>(ctx: &SockAddrContext) -> i32 {
    told(&mut Call::<V6>(ctx.sock_addr));
    GO_ON
}

/// A program: what happens, on which hook, for which family.
macro_rules! socket_program {
    ($name:ident on $hook:ident: $does:ident, v6: $v6:literal) => {
        #[cgroup_sock_addr($hook)]
        pub fn $name(ctx: SockAddrContext) -> i32 {
            $does::<$v6>(&ctx)
        }
    };
}

socket_program!(socket_connect4 on connect4: name, v6: false);
socket_program!(socket_connect6 on connect6: name, v6: true);
socket_program!(socket_send4 on sendmsg4: name, v6: false);
socket_program!(socket_send6 on sendmsg6: name, v6: true);
socket_program!(socket_receive4 on recvmsg4: ask, v6: false);
socket_program!(socket_receive6 on recvmsg6: ask, v6: true);
socket_program!(socket_peer4 on getpeername4: ask, v6: false);
socket_program!(socket_peer6 on getpeername6: ask, v6: true);

/// A socket is gone, and what it asked for is forgotten. One that named a peer with each datagram has none by which that
/// could be found: its entries give way to younger ones.
#[cgroup_sock(sock_release)]
pub fn socket_release(ctx: SockContext) -> i32 {
    let socket = ctx.sock;
    let port = word!(socket, dst_port);
    if port == 0 {
        return GO_ON;
    }
    let addr = if word!(socket, family) == AF_INET {
        let word: u64;
        // SAFETY: a field of the context. Written out, since LLVM would make one load of this and of another below, from a
        // place that it computes, which the verifier does not have.
        unsafe {
            asm!(
                "{0} = *(u32 *)({1} + {2})",
                out(reg) word,
                in(reg) socket,
                const core::mem::offset_of!(bpf_sock, dst_ip4),
                options(nostack, readonly),
            );
        }
        Addr::v4(word as u32)
    } else {
        let words = [
            word!(socket, dst_ip6[0]),
            word!(socket, dst_ip6[1]),
            word!(socket, dst_ip6[2]),
            word!(socket, dst_ip6[3]),
        ];
        Addr { words }
    };
    // SAFETY: the helper reads the context.
    let cookie = unsafe { helpers::bpf_get_socket_cookie(socket.cast()) };
    let key = spoken_to(cookie, addr, port);
    // SAFETY: only whether it is there is asked, which most are not: removing takes a lock.
    if unsafe { AX_SOCKETS.get(&key) }.is_some() {
        let _ = AX_SOCKETS.remove(&key);
    }
    GO_ON
}

/// A socket that was bound.
struct Bound(*mut bpf_sock);

impl Tables for Bound {
    shared_tables!();
}

#[inline(always)]
fn bound(ctx: &SockContext, any: Addr) -> i32 {
    let socket = Bound(ctx.sock);
    // SAFETY: the helper reads the context.
    let namespace = unsafe { helpers::bpf_get_netns_cookie(socket.0.cast()) };
    // The kernel gives this port in host order.
    let port = (word!(socket.0, src_port) as u16).to_be();
    let target = Target { addr: any, port, protocol: word!(socket.0, protocol) as u8 };
    if namespace != socket.config().host_cookie || may_bind(&socket, &target) { GO_ON } else { REJECT }
}

#[cgroup_sock(post_bind4)]
pub fn socket_bind4(ctx: SockContext) -> i32 {
    bound(&ctx, abi::service::WILDCARD_V4)
}

#[cgroup_sock(post_bind6)]
pub fn socket_bind6(ctx: SockContext) -> i32 {
    bound(&ctx, abi::service::WILDCARD_V6)
}
