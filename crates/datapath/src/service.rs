//! Services: which backend a client gets, for packets and for sockets alike.

use abi::nat::DIRECT;
use abi::service::{
    CLUSTER_IP, DSR, EXTERNAL_ALLOWED, EXTERNAL_DROP, EXTERNAL_LOCAL, INTERNAL_DROP, KIND_MASK,
    LOCAL_REDIRECT, MEMBER_ACTIVE, MEMBER_SPARED, NODE_PORT, SOURCE_RANGES, SOURCE_RANGES_DENY, SPARES,
    WILDCARD_V4, WILDCARD_V6,
};
use abi::tables::{IPCACHE_HOST, IPCACHE_TUNNEL};
use abi::{
    Addr, Affinity, AffinityKey, Backend, DropReason, Frontend, FrontendKey, MemberKey, NatValue, Range,
    SourceRangeKey, config, identity,
};

use crate::env::{Env, Tables};
use crate::nat::{self, find, follow, key, lives, scale};
use crate::packet::{IPV6, Packet, protocol};
use crate::parts::Part;
use crate::work::Work;

const SECOND: u64 = 1_000_000_000;

/// An address and port that somebody speaks to, network order.
#[derive(Clone, Copy)]
pub struct Target {
    /// Address.
    pub addr: Addr,
    /// Port.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
}

/// What stands behind a target: the frontend's row, copied into `out`. `own`: only addresses of this node answer for
/// NodePorts, not those of others.
#[inline(always)]
pub fn frontend<T: Tables>(env: &T, target: &Target, own: bool, out: &mut Frontend) -> bool {
    if exact(env, &target.addr, target.port, target.protocol, out) {
        return true;
    }
    if let Some(entry) = env.host_entry(&target.addr) {
        let here = entry.flags & IPCACHE_HOST != 0;
        if here || (!own && entry.identity == identity::REMOTE_NODE && in_node_ports(env, target.port)) {
            let found = wildcard(env, target, out);
            // What only some nodes serve is for those to answer, and host ports are the node's own.
            let anywhere = out.flags & (KIND_MASK | EXTERNAL_LOCAL) == NODE_PORT;
            return found && (here || anywhere);
        }
        return false;
    }
    // A port of a service's address that leads nowhere.
    exact(env, &target.addr, 0, 0, out)
}

/// The row under which a NodePort or HostPort stands for all addresses of the node.
#[inline(always)]
pub fn wildcard<T: Tables>(env: &T, target: &Target, out: &mut Frontend) -> bool {
    let any = if target.addr.is_v4() { WILDCARD_V4 } else { WILDCARD_V6 };
    exact(env, &any, target.port, target.protocol, out)
}

#[inline(always)]
fn exact<T: Tables>(env: &T, addr: &Addr, port: u16, protocol: u8, out: &mut Frontend) -> bool {
    match env.frontend(&FrontendKey { addr: *addr, port, protocol, _pad: 0 }) {
        Some(row) => {
            *out = *row;
            true
        }
        None => false,
    }
}

#[inline(always)]
fn in_node_ports<T: Tables>(env: &T, port: u16) -> bool {
    let port = u32::from(u16::from_be(port));
    port >= env.config().node_port_min && port <= env.config().node_port_max
}

/// Key under which a client is bound to a backend of `frontend`'s service. `socket`: `client` is a namespace's cookie, and
/// stands for both families. Traffic policies are those of cluster IPs or of all others, so neither binds for the other.
#[inline(always)]
pub fn client_key(client: Addr, frontend: &Frontend, socket: bool, v6: bool) -> AffinityKey {
    let cluster_ip = frontend.flags & KIND_MASK == CLUSTER_IP;
    let cookie = u32::from(socket) | u32::from(socket && v6) << 1 | u32::from(cluster_ip) << 2;
    AffinityKey { client, service: frontend.service, cookie }
}

/// Chooses a backend from `range`, or the one that the client is bound to. `hash` stands for the connection where a
/// table chooses; `draw` is the random number where none does.
#[inline(always)]
pub fn choose<T: Tables>(
    env: &mut T,
    frontend: &Frontend,
    range: &Range,
    client: &AffinityKey,
    protocol: u8,
    [hash, draw]: [u32; 2],
    out: &mut Affinity,
) -> Result<(), DropReason> {
    let now = env.now();
    let mut bound = false;
    if frontend.affinity != 0
        && let Some(last) = env.affinity(client)
        && now < last.used + u64::from(frontend.affinity) * SECOND
    {
        out.backend = last.backend;
        bound = env.member(&member(&out.backend, frontend.service, protocol)) == MEMBER_ACTIVE;
    }
    if !bound {
        let index = if range.maglev != 0 {
            env.maglev(range.maglev - 1, scale(hash, env.config().maglev_size)).unwrap_or(0)
        } else {
            scale(draw, range.count)
        };
        // A table of the set before or after this one may name a place that this one has not.
        let index = if index < range.count { index } else { 0 };
        match env.backend(range.start + index) {
            Some(backend) => out.backend = *backend,
            None => return Err(DropReason::NoBackend),
        }
    }
    if frontend.affinity != 0 {
        out._pad = 0;
        out.used = now;
        env.put_affinity(client, out);
    }
    Ok(())
}

/// Whether pods of the cluster have this identity.
#[inline(always)]
const fn is_pod(identity: u32) -> bool {
    let cluster = identity >= identity::CLUSTER_MIN && !identity::is_local_scope(identity);
    cluster || matches!(identity, identity::HEALTH | identity::INIT | identity::INGRESS)
}

/// Key of a backend among the members of a service.
#[inline(always)]
pub const fn member(backend: &Backend, service: u32, protocol: u8) -> MemberKey {
    MemberKey { addr: backend.addr, service, port: backend.port, protocol, _pad: 0 }
}

/// Whether a local redirect policy spares this client: what it says to `row`'s frontend goes where it would without the
/// policy.
#[inline(always)]
pub fn spared<T: Tables>(env: &T, row: &Frontend, client: &Addr, protocol: u8) -> bool {
    if row.flags & SPARES == 0 {
        return false;
    }
    let client = Backend { addr: *client, port: 0, _pad: 0 };
    env.member(&member(&client, row.service, protocol)) == MEMBER_SPARED
}

/// A number that spreads connections, and is the same on all nodes: murmur3's 32-bit mixing (Appleby) over the words
/// of the tuple. With affinity the client's port does not count.
#[inline(always)]
pub fn hash(packet: &Packet, with_port: bool) -> u32 {
    let ports = if with_port { u32::from(packet.source_port) << 16 } else { 0 };
    let mut hash = 0;
    let mut i = 0;
    while i < 4 {
        hash = mix(hash, packet.source.words[i & 3]);
        hash = mix(hash, packet.destination.words[i & 3]);
        i += 1;
    }
    hash = mix(hash, ports | u32::from(packet.destination_port));
    finish(mix(hash, u32::from(packet.protocol)))
}

/// One round of murmur3.
#[inline(always)]
const fn mix(hash: u32, word: u32) -> u32 {
    let word = word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    (hash ^ word).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
}

/// Murmur3's last step: every bit of the input moves half of the output's.
#[inline(always)]
pub const fn finish(hash: u32) -> u32 {
    let hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    let hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

/// Whether a packet that is addressed neither to a pod of this node nor to another one could be for a service.
#[inline(always)]
pub fn possible<E: Env>(env: &E, packet: &Packet) -> bool {
    if env.config().features & config::SERVICES == 0
        || !matches!(packet.protocol, protocol::TCP | protocol::UDP | protocol::SCTP)
        || env.local(&packet.destination).is_some()
    {
        return false;
    }
    if unspecified(&packet.destination) {
        return false;
    }
    match env.host_entry(&packet.destination) {
        Some(entry) if entry.flags & IPCACHE_HOST != 0 => true,
        Some(entry) if is_pod(entry.identity) => false,
        Some(entry) if matches!(entry.identity, identity::REMOTE_NODE | identity::KUBE_APISERVER) => {
            in_node_ports(env, packet.destination_port)
        }
        // Policies name addresses of services too.
        _ => true,
    }
}

/// The addresses that stand for others in keys of NodePorts, and on the wire for nobody.
#[inline(always)]
pub const fn unspecified(addr: &Addr) -> bool {
    addr.same(&WILDCARD_V4) || addr.same(&WILDCARD_V6)
}

/// Whether an address is a service's alone: what is no packet to one of its ports leads nowhere, and would circle between
/// this node and its router.
#[inline(always)]
pub fn dead_end<E: Env>(env: &E, addr: &Addr) -> bool {
    env.config().features & config::SERVICES != 0
        && env.frontend(&FrontendKey { addr: *addr, port: 0, protocol: 0, _pad: 0 }).is_some()
}

/// Whether a packet of a protocol that services do not know goes to a service's address.
#[inline(always)]
pub fn closed<E: Env>(env: &E, packet: &Packet) -> bool {
    !matches!(packet.protocol, protocol::TCP | protocol::UDP | protocol::SCTP)
        && dead_end(env, &packet.destination)
}

/// Whether a packet from outside has the source of somebody who never speaks from there: a pod of this node, the node
/// itself, who lives behind the tunnel. It must not touch their connections.
#[inline(always)]
fn forged<E: Env>(env: &E, work: &Work) -> bool {
    if work.inside != 0 {
        return false;
    }
    if env.local(&work.packet.source).is_some() {
        return true;
    }
    match env.host_entry(&work.packet.source) {
        Some(entry) => {
            let tunnelled = entry.flags & IPCACHE_TUNNEL != 0 && env.config().features & config::TUNNEL != 0;
            entry.flags & IPCACHE_HOST != 0 || tunnelled
        }
        None => false,
    }
}

/// Leads a packet to a backend, if it is addressed to a service; `work.served` tells. A refused one is answered, and
/// then the work is settled. The steps are called side by side, not one from the other: a chain of calls has 512 bytes
/// of stack.
#[inline(always)]
pub fn serve<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    env.part(Part::FindService, work)?;
    if work.step == Step::Open as u32 {
        env.part(Part::Open, work)?;
    }
    if work.step == Step::Refuse as u32 {
        return env.part(Part::Refuse, work);
    }
    if work.step == Step::Choose as u32 {
        env.part(Part::Choose, work)?;
        env.part(Part::Connect, work)?;
    }
    if work.step == Step::Allocate as u32 {
        env.part(Part::Allocate, work)?;
    }
    if work.served == 0 {
        return Ok(());
    }
    env.part(Part::Translate, work)?;
    if work.nat.flags & DIRECT != 0 { env.part(Part::AddService, work) } else { Ok(()) }
}

/// What is to be done next for a packet to a service.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing more.
    Done = 0,
    /// It opens a connection to `work.frontend`.
    Open = 1,
    /// There is no backend, and the client is told.
    Refuse = 2,
    /// A backend is chosen.
    Choose = 3,
    /// The connection needs a port of this node's.
    Allocate = 4,
    /// No service: policy denies the packet, and its sender is told.
    Prohibit = 5,
}

/// Finds the connection of a packet to a service, or the service that it opens one to.
#[inline(always)]
pub fn find_service<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    work.step = Step::Done as u32;
    key(&work.packet, abi::nat::OUT, &mut work.nat_key);
    let now = env.now();
    if let Some(mut entry) = find(env, &work.nat_key)
        && entry.service != 0
    {
        if forged(env, work) {
            return Err(DropReason::InvalidSourceIp);
        }
        if lives(&entry, &work.packet, now) && still_served(env, &mut entry, work) {
            work.served = 1;
            return follow(env, work, entry, now);
        }
        work.nat = *entry;
        env.part(Part::Forget, work)?;
    }
    let target = Target {
        addr: work.packet.destination,
        port: work.packet.destination_port,
        protocol: work.packet.protocol,
    };
    if frontend(env, &target, work.inside == 0, &mut work.frontend) {
        // What a policy redirects is somebody else's address for all but this node's pods.
        if work.inside == 0 && work.frontend.flags & KIND_MASK == LOCAL_REDIRECT {
            return Ok(());
        }
        if forged(env, work) {
            return Err(DropReason::InvalidSourceIp);
        }
        work.step = Step::Open as u32;
    }
    Ok(())
}

/// Whether the backend of a known connection is still one of its service's. Asked once a generation, and not for the
/// middle of a TCP connection: that ends with its backend, and nowhere else.
#[inline(always)]
fn still_served<E: Env>(env: &E, entry: &mut NatValue, work: &Work) -> bool {
    let now = env.services_epoch();
    if entry.epoch == now || (work.packet.protocol == protocol::TCP && !work.packet.is_syn()) {
        return true;
    }
    entry.epoch = now;
    let backend = Backend { addr: entry.destination, port: entry.destination_port, _pad: 0 };
    env.member(&member(&backend, entry.service, work.packet.protocol)) != 0
}

/// A new connection to `work.frontend`.
#[inline(always)]
pub fn open<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    let Work { frontend, packet, inside, range, .. } = work;
    let outside = *inside == 0;
    let halfway = packet.protocol == protocol::TCP && !packet.is_syn();
    if outside && halfway && env.config().features & config::TAKEOVER != 0 {
        work.step = Step::Done as u32;
        return Ok(());
    }
    let spared = !outside && spared(env, frontend, &packet.source, packet.protocol);
    if spared && frontend.flags & KIND_MASK == LOCAL_REDIRECT {
        work.step = Step::Done as u32;
        return Ok(());
    }
    *range = if outside || spared { frontend.external } else { frontend.internal };
    let silent = if outside || spared { EXTERNAL_DROP } else { INTERNAL_DROP };
    if range.count == 0 && frontend.flags & silent != 0 {
        return Err(DropReason::NoBackend);
    }
    if outside {
        let open = frontend.flags & KIND_MASK != CLUSTER_IP || frontend.flags & EXTERNAL_ALLOWED != 0;
        if !open {
            return Err(DropReason::IsClusterIp);
        }
        if frontend.flags & SOURCE_RANGES != 0 {
            let asked = SourceRangeKey { len: 160, service: frontend.service, addr: packet.source };
            let within = env.in_source_ranges(&asked);
            if within == (frontend.flags & SOURCE_RANGES_DENY != 0) {
                return Err(DropReason::DeniedBySourceRange);
            }
        }
    }
    if range.count == 0 {
        work.step = Step::Refuse as u32;
        return Ok(());
    }
    work.step = Step::Choose as u32;
    Ok(())
}

/// Chooses the backend of a packet's connection into `work.bound`.
#[inline(always)]
pub fn choose_for_packet<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    let draw = env.random();
    let Work { frontend, packet, range, bound, .. } = work;
    let client = client_key(packet.source, frontend, false, false);
    let hash = hash(packet, frontend.affinity == 0);
    choose(env, frontend, range, &client, packet.protocol, [hash, draw], bound)
}

/// Makes the translated connection to the backend in `work.bound`.
#[inline(always)]
pub fn connect<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    let v6 = work.packet.is(IPV6);
    nat::unchanged(&work.packet, &mut work.nat);
    work.nat.destination = work.bound.backend.addr;
    work.nat.destination_port = work.bound.backend.port;
    work.nat.service = work.frontend.service;
    work.nat.epoch = env.services_epoch();
    work.served = 1;
    work.step = Step::Done as u32;
    let mut here = env.local(&work.nat.destination).is_some();
    let mut tunnelled = false;
    let mut member = false;
    if let Some(entry) = env.host_entry(&work.nat.destination) {
        here |= entry.flags & IPCACHE_HOST != 0;
        tunnelled = entry.flags & IPCACHE_TUNNEL != 0;
        member = entry.identity == identity::REMOTE_NODE || is_pod(entry.identity);
    }
    let cfg = env.config();
    let mut taken = false;
    if work.inside != 0 && work.nat.destination.same(&work.packet.source) {
        work.nat.source = if v6 { cfg.loopback_v6 } else { cfg.loopback_v4 };
    } else if work.inside == 0 && !here {
        // With the client's own address if the backend's node answers it directly: who is no member of the cluster cannot.
        let direct = work.frontend.flags & DSR != 0
            && cfg.features & config::DSR != 0
            && member
            && work.packet.protocol != protocol::SCTP;
        work.nat.flags = if direct { DIRECT } else { 0 };
        taken = !direct;
    }
    if !taken && env.part(Part::Claim, work).is_err() {
        // Two frontends may lead one client's port to one backend; then the answers need another: of the client's own,
        // so that its rights and its name stay, where they pass by here.
        taken = work.nat.flags & DIRECT != 0;
        work.step = Step::Allocate as u32;
    }
    if taken {
        let cfg = env.config();
        let through_tunnel = tunnelled && cfg.features & config::TUNNEL != 0;
        work.nat.source = match (v6, through_tunnel) {
            (false, false) => cfg.node_v4,
            (false, true) => cfg.router_v4,
            (true, false) => cfg.node_v6,
            (true, true) => cfg.router_v6,
        };
        work.step = Step::Allocate as u32;
    }
    Ok(())
}
