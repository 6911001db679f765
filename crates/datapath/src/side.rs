//! Who stands at one end of a packet: identity, policy, and the way there.

use abi::flow::{GO_NEIGHBOUR, GO_POD, GO_STACK, GO_TUNNEL};
use abi::tables::{IPCACHE_HOST, IPCACHE_TUNNEL};
use abi::{Addr, End, Identity, IpcacheEntry, PodFacts, config};

use crate::env::{Env, ROUTE_STACK};
use crate::host;
use crate::work::Work;

/// One end of a packet.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Side {
    /// Security identity.
    pub identity: Identity,
    /// Interface index of the pod's device if the end is a pod of this node; that of `cilium_host` if it is the node itself
    /// and has a policy; else 0.
    pub pod: u32,
    /// How packets to it travel, as far as known here.
    pub end: End,
}

impl Side {
    /// A pod of this node.
    #[inline(always)]
    pub fn pod(ifindex: u32, facts: &PodFacts) -> Side {
        let mut end = End::going(GO_POD);
        end.ifindex = ifindex;
        end.mac = facts.mac;
        end.host_mac = facts.host_mac;
        end.endpoint = facts.endpoint;
        Side { identity: facts.identity, pod: ifindex, end }
    }

    /// A sender of which this node only knows the identity; how to answer it is found when an answer comes by.
    #[inline(always)]
    pub const fn remote(identity: Identity) -> Side {
        Side { identity, pod: 0, end: End::UNKNOWN }
    }
}

/// What the node knows of an address that is not one of its pods.
#[inline(always)]
pub fn ipcache<'a, E: Env>(env: &'a E, addr: &Addr) -> Option<&'a IpcacheEntry> {
    match env.host_entry(addr) {
        Some(entry) => Some(entry),
        None => env.prefix_entry(addr),
    }
}

/// The identity of an address that nobody knows.
#[inline(always)]
pub fn world<E: Env>(env: &E, addr: &Addr) -> Identity {
    if addr.is_v4() { env.config().world_v4 } else { env.config().world_v6 }
}

/// Fills in the receiver of the packet, with the way there; to other nodes as the node's routes say.
#[inline(always)]
pub fn destination<E: Env>(env: &mut E, work: &mut Work) {
    let addr = work.packet.destination;
    if let Some(ifindex) = env.local(&addr)
        && let Some(facts) = env.pod(ifindex)
    {
        work.receiver = Side::pod(ifindex, facts);
        return;
    }
    if addr.same(&env.config().loopback_v4) || addr.same(&env.config().loopback_v6) {
        // A pod that met itself through a service answers itself.
        work.receiver = work.sender;
        return;
    }
    let side = &mut work.receiver;
    *side = Side::remote(world(env, &addr));
    if let Some(entry) = ipcache(env, &addr) {
        side.identity = entry.identity;
        if entry.flags & IPCACHE_HOST != 0 {
            if !host::node(env, side, GO_STACK) {
                side.end = End::going(GO_STACK);
            }
            return;
        }
        if entry.flags & IPCACHE_TUNNEL != 0 && env.config().features & config::TUNNEL != 0 {
            side.end = End::going(GO_TUNNEL);
            side.end.gateway = entry.node;
            return;
        }
    }
    // Only packets of pods and of services are this node's to route; the sender is known before the receiver.
    if work.sender.pod != 0 || work.served != 0 {
        side.end = End::going(GO_NEIGHBOUR);
        side.end.ifindex = env.route(&work.packet, &mut side.end.gateway);
        if side.end.ifindex == ROUTE_STACK {
            side.end = End::going(GO_STACK);
        }
    }
}

/// Whether packets of a pod to this receiver leave with the node's address. Cluster members see the pod's own, but
/// behind a tunnel other nodes' own addresses have no way back to a pod's.
#[inline(always)]
pub fn masqueraded<E: Env>(env: &E, destination: &Addr, identity: Identity) -> bool {
    let cfg = env.config();
    let (feature, native, native_len) = if destination.is_v4() {
        (config::MASQUERADE_V4, &cfg.native_v4, cfg.native_v4_len)
    } else {
        (config::MASQUERADE_V6, &cfg.native_v6, cfg.native_v6_len)
    };
    if cfg.features & feature == 0 || identity == abi::identity::HOST {
        return false;
    }
    if native_len != 0 && destination.within(native, native_len) {
        return false;
    }
    let node = identity == abi::identity::REMOTE_NODE || identity == abi::identity::KUBE_APISERVER;
    if node && cfg.features & config::TUNNEL == 0 {
        return false;
    }
    let cluster = identity >= abi::identity::CLUSTER_MIN && !abi::identity::is_local_scope(identity);
    let member =
        cluster || matches!(identity, abi::identity::HEALTH | abi::identity::INIT | abi::identity::INGRESS);
    !member && !env.never_masqueraded(destination)
}
