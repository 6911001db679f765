//! Services for sockets: the peer's address is replaced when a program names it, and put back when it asks. The
//! packets of such a socket carry the backend's address from the first on, and cost nothing more.

use abi::service::{
    EXTERNAL_DROP, INTERNAL_DROP, KIND_MASK, LOCAL_REDIRECT, SPARES, WILDCARD_V4, WILDCARD_V6,
};
use abi::{Addr, Affinity, Backend, Frontend, Range, SocketKey, SocketPoint, SocketValue, config};

use crate::env::{Socket, Tables};
use crate::packet::protocol;
use crate::service::{Target, choose, client_key, finish, frontend, spared, unspecified, wildcard};

/// What to answer the caller.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Go on, to the peer that is now set.
    Proceed = 0,
    /// `ECONNREFUSED`: a service without backends.
    Refused = 1,
    /// `ENOMEM`: the way back could not be remembered.
    NoMemory = 2,
}

/// `connect(2)`, or `sendmsg(2)` on an unconnected socket: the caller names the peer.
#[inline(always)]
pub fn connect<S: Socket>(env: &mut S) -> Answer {
    let protocol = env.protocol();
    if !matches!(protocol, protocol::TCP | protocol::UDP) {
        return Answer::Proceed;
    }
    let features = env.config().features;
    let host = env.namespace() == env.config().host_cookie;
    if features & config::SOCKET_LB_HOST_ONLY != 0 && !host {
        return Answer::Proceed;
    }
    let target = Target { addr: env.address(), port: env.port(), protocol };
    // A pod's loopback addresses are its own, and no address means one of them.
    let local = loopback(&target.addr) || unspecified(&target.addr);
    let mut row = NOTHING;
    let found = (host || !local)
        && (frontend(env, &target, false, &mut row) || (local && wildcard(env, &target, &mut row)));
    if !found {
        return Answer::Proceed;
    }
    let mut range = row.internal;
    let mut silent = INTERNAL_DROP;
    if row.flags & SPARES != 0 {
        // Which pod speaks is seen in its packets, and they are led or spared there.
        if !host {
            return Answer::Proceed;
        }
        let client = if target.addr.is_v4() { WILDCARD_V4 } else { WILDCARD_V6 };
        if spared(env, &row, &client, protocol) {
            if row.flags & KIND_MASK == LOCAL_REDIRECT {
                return Answer::Proceed;
            }
            range = row.external;
            silent = EXTERNAL_DROP;
        }
    }
    report(env, SocketPoint::PreForward, &target.addr, target.port);
    if range.count == 0 {
        // The packets of the connection are dropped on their way, so that the caller waits as it should.
        return if row.flags & silent != 0 { Answer::Proceed } else { Answer::Refused };
    }
    let cookie = env.cookie();
    // Datagrams of one socket stay with one backend while the set does not change.
    let hash = finish((cookie as u32) ^ ((cookie >> 32) as u32) ^ row.service.wrapping_mul(0x9e37_79b9));
    let draw = if protocol == protocol::UDP { hash } else { env.random() };
    let namespace = env.namespace();
    let client = Addr { words: [namespace as u32, (namespace >> 32) as u32, 0, 0] };
    let client = client_key(client, &row, true, !target.addr.is_v4());
    let mut bound = UNBOUND;
    let hash = if protocol == protocol::UDP { hash } else { draw };
    if choose(env, &row, &range, &client, protocol, [hash, draw], &mut bound).is_err() {
        return Answer::Refused;
    }
    let key = SocketKey { cookie, backend: bound.backend, _pad: 0 };
    let asked = SocketValue { addr: target.addr, port: target.port, _pad: 0, service: row.service };
    if !env.put_asked(&key, &asked) {
        return Answer::NoMemory;
    }
    report(env, SocketPoint::PostForward, &bound.backend.addr, bound.backend.port);
    env.set_peer(&bound.backend.addr, bound.backend.port);
    Answer::Proceed
}

/// `recvmsg(2)` and `getpeername(2)`: the caller is told the address it asked for.
#[inline(always)]
pub fn told<S: Socket>(env: &mut S) {
    let key = spoken_to(env.cookie(), env.address(), env.port());
    if let Some(asked) = env.asked(&key) {
        let (addr, port) = (asked.addr, asked.port);
        report(env, SocketPoint::PreReverse, &key.backend.addr, key.backend.port);
        report(env, SocketPoint::PostReverse, &addr, port);
        env.set_peer(&addr, port);
    }
}

/// Reports, where every packet is reported too: a translation is one packet of many at most.
#[inline(always)]
fn report<S: Socket>(env: &mut S, point: SocketPoint, addr: &Addr, port: u16) {
    if env.monitor() > 1 {
        env.tell(point, addr, port);
    }
}

/// Key under which a socket is remembered that speaks to this peer. `port`: network order.
#[inline(always)]
pub const fn spoken_to(cookie: u64, addr: Addr, port: u16) -> SocketKey {
    SocketKey { cookie, backend: Backend { addr, port, _pad: 0 }, _pad: 0 }
}

/// Whether a socket of the node may be bound to a port: not to one that a NodePort or HostPort service answers.
#[inline(always)]
pub fn may_bind<T: Tables>(env: &T, target: &Target) -> bool {
    let mut row = NOTHING;
    env.config().features & config::BIND_PROTECTION == 0 || !wildcard(env, target, &mut row)
}

/// 127.0.0.0/8 or `::1`.
#[inline(always)]
fn loopback(addr: &Addr) -> bool {
    if addr.is_v4() {
        return u32::from_be(addr.v4_word()) >> 24 == 127;
    }
    addr.same(&Addr { words: [0, 0, 0, 1_u32.to_be()] })
}

const NO_RANGE: Range = Range { start: 0, count: 0, maglev: 0 };
const NOTHING: Frontend =
    Frontend { service: 0, flags: 0, external: NO_RANGE, internal: NO_RANGE, affinity: 0 };
const UNBOUND: Affinity =
    Affinity { backend: Backend { addr: WILDCARD_V6, port: 0, _pad: 0 }, _pad: 0, used: 0 };
