//! A socket about to name its peer, or to ask for it.

use abi::{Addr, Affinity, AffinityKey, Backend, Frontend, FrontendKey, IpcacheEntry, MemberKey, NodeConfig};
use abi::{Event, EventKind, SocketEvent, SocketKey, SocketPoint, SocketValue};
use datapath::socket::{Answer, connect, told};
use datapath::{Socket, Tables};

use zerocopy::IntoBytes;

use crate::node::Node;

/// A socket, and the address in the caller's hand.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// IP protocol number.
    pub protocol: u8,
    /// Address.
    pub addr: Addr,
    /// Port, network order.
    pub port: u16,
    /// The kernel's number for the socket.
    pub cookie: u64,
    /// The kernel's number for its network namespace.
    pub namespace: u64,
}

/// `connect(2)` and `sendmsg(2)`; the address in `call` becomes the one that is spoken to.
pub fn socket_connect(node: &mut Node, call: &mut Call) -> Answer {
    connect(&mut World { node, call })
}

/// `recvmsg(2)` and `getpeername(2)`; the address in `call` becomes the one that the caller sees.
pub fn socket_told(node: &mut Node, call: &mut Call) {
    told(&mut World { node, call });
}

struct World<'a> {
    node: &'a mut Node,
    call: &'a mut Call,
}

impl Tables for World<'_> {
    crate::node_tables!();
}

impl Socket for World<'_> {
    fn protocol(&self) -> u8 {
        self.call.protocol
    }
    fn address(&self) -> Addr {
        self.call.addr
    }
    fn port(&self) -> u16 {
        self.call.port
    }
    fn set_peer(&mut self, addr: &Addr, port: u16) {
        self.call.addr = *addr;
        self.call.port = port;
    }
    fn cookie(&self) -> u64 {
        self.call.cookie
    }
    fn namespace(&self) -> u64 {
        self.call.namespace
    }
    fn asked(&self, key: &SocketKey) -> Option<&SocketValue> {
        self.node.sockets.get(key)
    }
    fn put_asked(&mut self, key: &SocketKey, value: &SocketValue) -> bool {
        self.node.sockets.insert(*key, *value);
        true
    }
    fn monitor(&self) -> u32 {
        self.node.monitor
    }
    fn tell(&mut self, point: SocketPoint, addr: &Addr, port: u16) {
        let Call { protocol, cookie, namespace, .. } = *self.call;
        let socket = SocketEvent { cookie, namespace, addr: *addr, port, protocol, ..SocketEvent::default() };
        let event = Event {
            time: self.node.now,
            kind: EventKind::TraceSock as u8,
            code: point as u8,
            captured: size_of::<SocketEvent>() as u32,
            ..Event::EMPTY
        };
        self.node.record(event, socket.as_bytes());
    }
}
