//! Records of the kernel's event ring.

use crate::model::{Point, Reason, SocketPoint};
use crate::packet::Packet;
use abi::event::{AUDITED, EGRESS, ENCAPSULATED};
use abi::{Event, EventKind, SocketEvent};
use zerocopy::FromBytes;

/// A record, decoded but without names.
#[derive(Clone, Debug, PartialEq)]
pub struct RawFlow {
    /// The header as the kernel wrote it.
    pub event: Event,
    /// What it tells.
    pub kind: RawKind,
    /// The packet, as far as it was captured.
    pub packet: Packet,
}

/// What a record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawKind {
    /// A packet was dropped.
    Drop {
        /// Number of the reason; may be one that this version does not know.
        reason: u8,
        /// It was on its way out of a pod.
        egress: bool,
    },
    /// A packet was seen.
    Trace {
        /// Where.
        point: Point,
        /// How it stands to its connection, if that is known.
        reason: Option<Reason>,
    },
    /// Policy decided.
    Verdict {
        /// Number of the reason if it was denied.
        denied: Option<u8>,
        /// Denied, yet let through.
        audited: bool,
        /// It was the sender's policy.
        egress: bool,
    },
    /// An address was translated at a socket. The packet has the other address as its source or destination; the socket's
    /// own is not known, and unspecified.
    Socket {
        /// Which side of the translation it is.
        point: SocketPoint,
        /// The kernel's number for the socket.
        cookie: u64,
        /// Control group of the process.
        cgroup: u64,
        /// The kernel's number for the socket's network namespace.
        namespace: u64,
    },
}

/// Bytes that are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Shorter than the header.
    #[error("event record of {len} bytes is shorter than its header of {header}: agent and programs differ in version, restart the agent", header = size_of::<Event>())]
    Short {
        /// Bytes that came.
        len: usize,
    },
    /// A kind that this version does not know.
    #[error("event record of unknown kind {kind}: agent and programs differ in version, restart the agent")]
    UnknownKind {
        /// Its number.
        kind: u8,
    },
    /// A side of a translation that this version does not know.
    #[error(
        "event record of unknown translation point {point}: agent and programs differ in version, restart the agent"
    )]
    UnknownSocketPoint {
        /// Its number.
        point: u8,
    },
    /// A trace point that this version does not know.
    #[error(
        "event record of unknown trace point {point}: agent and programs differ in version, restart the agent"
    )]
    UnknownPoint {
        /// Its number.
        point: u8,
    },
}

/// Decodes a record of the event ring: an [`Event`], then the first bytes of the packet or a [`SocketEvent`]. Whatever the
/// packet holds, it is decoded as far as it goes.
pub fn decode(record: &[u8]) -> Result<RawFlow, DecodeError> {
    let Ok((event, rest)) = Event::read_from_prefix(record) else {
        return Err(DecodeError::Short { len: record.len() });
    };
    if event.kind == EventKind::TraceSock as u8 {
        return socket(event, rest, record.len());
    }
    let kind = kind(&event)?;
    let captured = usize::try_from(event.captured).map_or(rest.len(), |n| n.min(rest.len()));
    let packet = Packet::parse(&rest[..captured], event.flags & ENCAPSULATED != 0);
    Ok(RawFlow { event, kind, packet })
}

fn socket(event: Event, rest: &[u8], len: usize) -> Result<RawFlow, DecodeError> {
    let Ok((socket, _)) = SocketEvent::read_from_prefix(rest) else {
        return Err(DecodeError::Short { len });
    };
    let point = SocketPoint::from_number(i32::from(event.code))
        .ok_or(DecodeError::UnknownSocketPoint { point: event.code })?;
    let SocketEvent { cookie, cgroup, namespace, .. } = socket;
    let packet =
        Packet::at_socket(socket.addr.into(), u16::from_be(socket.port), socket.protocol, point.reverse());
    Ok(RawFlow { event, kind: RawKind::Socket { point, cookie, cgroup, namespace }, packet })
}

/// The kernel's number for the network namespace that a record of a translation at a socket is about; `None` for all others.
pub fn namespace(record: &[u8]) -> Option<u64> {
    let (event, rest) = Event::read_from_prefix(record).ok()?;
    let (socket, _) = SocketEvent::read_from_prefix(rest).ok()?;
    (event.kind == EventKind::TraceSock as u8).then_some(socket.namespace)
}

fn kind(event: &Event) -> Result<RawKind, DecodeError> {
    let egress = event.flags & EGRESS != 0;
    match event.kind {
        k if k == EventKind::Drop as u8 => Ok(RawKind::Drop { reason: event.code, egress }),
        k if k == EventKind::Trace as u8 => {
            let point = Point::from_subtype(i32::from(event.code))
                .ok_or(DecodeError::UnknownPoint { point: event.code })?;
            Ok(RawKind::Trace { point, reason: reason(event.reason) })
        }
        k if k == EventKind::PolicyVerdict as u8 => Ok(RawKind::Verdict {
            denied: (event.code != 0).then_some(event.code),
            audited: event.flags & AUDITED != 0,
            egress,
        }),
        kind => Err(DecodeError::UnknownKind { kind }),
    }
}

/// The datapath counts from 0, the flow API from 1.
fn reason(number: u8) -> Option<Reason> {
    match number {
        0 => Some(Reason::New),
        1 => Some(Reason::Established),
        2 => Some(Reason::Reply),
        3 => Some(Reason::Related),
        _ => None,
    }
}
