//! The parts of the path that stand for themselves: large, rare, or called from several places.

use abi::DropReason;

use crate::env::Env;
use crate::work::Work;
use crate::{conntrack, dsr, entry, host, nat, neighbour, packet, refuse, rewrite, service, trace};

/// A part of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Read the frame.
    Parse,
    /// Ask the tunnel device what it knows of the packet.
    TunnelKey,
    /// Read a packet with options or fragments, or one that an ICMP error quotes.
    Read,
    /// Ask the node's routes for the way to the receiver.
    Receiver,
    /// Policy at both ends.
    Decide,
    /// Policy at one end, as `work.decision.egress` says.
    Opinion,
    /// What the table of that end says.
    Ask,
    /// Find or make the flow.
    Track,
    /// Answer ARP and neighbour solicitations of a pod.
    Neighbour,
    /// Masquerade.
    Leave,
    /// Find a free port for masquerading.
    Allocate,
    /// Take one port, if it is free.
    TakePort,
    /// Rewrite the packet's source as `work.nat` says.
    RewriteSource,
    /// Rewrite the packet's destination as `work.nat` says.
    RewriteDestination,
    /// Rewrite both.
    Translate,
    /// Undo it for an answer.
    ComeBack,
    /// Make the two entries of a translated connection.
    Claim,
    /// Write them anew.
    Renew,
    /// Forget them.
    Forget,
    /// Find the connection or the service of a packet.
    FindService,
    /// Open a connection to a service.
    Open,
    /// Choose its backend.
    Choose,
    /// Translate it to that.
    Connect,
    /// Refuse it.
    Refuse,
    /// By a reset.
    Reset,
    /// By an ICMP error.
    Unreachable,
    /// Tell a sender that policy denies what it sends.
    Prohibit,
    /// Tell the backend's node under which address to answer.
    AddService,
    /// Learn it from another node.
    LearnService,
    /// Send on what this node translated for others.
    Forward,
    /// Report `work.event`.
    Emit,
    /// Report that the packet passed.
    Passed,
    /// Slow path of a packet from a pod.
    FromPod,
    /// Slow path of a packet from a native device.
    FromNetdev,
    /// Slow path of a packet from the tunnel.
    FromOverlay,
    /// Slow path of a packet from this node's stack.
    FromHost,
    /// The node's own policy on a packet to it from a native device.
    ToNode,
    /// The node's own policy on a packet from it through a native device.
    FromNode,
}

/// Runs a part.
#[inline(always)]
pub fn run<E: Env>(env: &mut E, part: Part, work: &mut Work) -> Result<(), DropReason> {
    match part {
        Part::Parse => packet::parse(env, work),
        Part::TunnelKey => env.tunnel_key(&mut work.tunnel),
        Part::Read => packet::read(env, work),
        Part::Receiver => {
            crate::side::destination(env, work);
            Ok(())
        }
        Part::Opinion => conntrack::opinion(env, work),
        Part::Ask => conntrack::ask_table(env, work),
        Part::Decide => conntrack::decide(env, work),
        Part::Track => conntrack::track(env, work),
        Part::Neighbour => neighbour::answer(env, work),
        Part::Leave => nat::leave(env, work),
        Part::Allocate => nat::allocate(env, work),
        Part::TakePort => nat::take_port(env, work),
        Part::RewriteSource => rewrite::rewrite(env, work, rewrite::Half::Source),
        Part::RewriteDestination => rewrite::rewrite(env, work, rewrite::Half::Destination),
        Part::Translate => nat::translate(env, work),
        Part::ComeBack => nat::come_back(env, work),
        Part::Claim => nat::claim(env, work),
        Part::Renew => nat::renew(env, work),
        Part::Forget => nat::forget(env, work),
        Part::FindService => service::find_service(env, work),
        Part::Open => service::open(env, work),
        Part::Choose => service::choose_for_packet(env, work),
        Part::Connect => service::connect(env, work),
        Part::Refuse => refuse::refuse(env, work),
        Part::Reset => refuse::reset(env, work),
        Part::Unreachable => refuse::unreachable(env, work),
        Part::Prohibit => refuse::prohibit(env, work),
        Part::AddService => dsr::add(env, work),
        Part::LearnService => dsr::learn(env, work),
        Part::Forward => entry::forward(env, work),
        Part::Emit => {
            env.emit(&mut work.event);
            Ok(())
        }
        Part::Passed => trace::passed(env, work),
        Part::FromPod => entry::pod_slow(env, work),
        Part::FromNetdev => entry::netdev_slow(env, work),
        Part::FromOverlay => entry::overlay_slow(env, work),
        Part::FromHost => entry::host_slow(env, work),
        Part::ToNode => host::arrive(env, work),
        Part::FromNode => host::leave(env, work),
    }
}
