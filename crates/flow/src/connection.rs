//! From a flow to the question that policy was asked: who opens a connection to whom, for what.

use crate::model::{Direction, EVENT_CAPTURE, EVENT_TRACE_SOCK, End, Flow, L4};
use std::net::IpAddr;

/// The connection that a flow is part of, seen from its client.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Connection<'a> {
    /// Who opened it.
    pub client: &'a End,
    /// Its address.
    pub client_address: IpAddr,
    /// Who serves.
    pub server: &'a End,
    /// Its address.
    pub server_address: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// The server's port, host order; for ICMP the type, 0 for protocols without ports.
    pub port: u16,
    /// Whose policy the flow is told from: `Egress` the client's, `Ingress` the server's.
    pub direction: Direction,
}

/// Why a flow says nothing that policy could be asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum NoConnection {
    /// ARP and the like.
    #[error("it has no IP addresses")]
    NoAddress,
    /// Later fragments, and protocols that nobody decodes.
    #[error("it does not tell protocol and port")]
    NoTransport,
    /// A translation at a socket, or a capture for debugging.
    #[error("it is no packet on its way between two ends")]
    NoPacket,
}

impl Flow {
    /// The connection of which this flow is a part. A flow that does not say whether it is a reply is none.
    ///
    /// # Errors
    /// [`NoConnection`]
    pub fn connection(&self) -> Result<Connection<'_>, NoConnection> {
        if matches!(self.event_type, EVENT_TRACE_SOCK | EVENT_CAPTURE) {
            return Err(NoConnection::NoPacket);
        }
        let ip = self.ip.ok_or(NoConnection::NoAddress)?;
        let reply = self.is_reply.unwrap_or_default();
        let of = |source: u16, destination: u16| if reply { source } else { destination };
        let (protocol, port) = match self.l4.ok_or(NoConnection::NoTransport)? {
            L4::Tcp { source, destination, .. } => (6, of(source, destination)),
            L4::Udp { source, destination } => (17, of(source, destination)),
            L4::Sctp { source, destination } => (132, of(source, destination)),
            L4::Icmp4 { kind: 0, .. } if reply => (1, 8),
            L4::Icmp4 { kind, .. } => (1, u16::from(kind)),
            L4::Icmp6 { kind: 129, .. } if reply => (58, 128),
            L4::Icmp6 { kind, .. } => (58, u16::from(kind)),
            L4::Vrrp { .. } => (112, 0),
            L4::Igmp { .. } => (2, 0),
        };
        let (client, server) = match reply {
            false => ((&self.source, ip.source), (&self.destination, ip.destination)),
            true => ((&self.destination, ip.destination), (&self.source, ip.source)),
        };
        Ok(Connection {
            client: client.0,
            client_address: client.1,
            server: server.0,
            server_address: server.1,
            protocol,
            port,
            direction: self.direction,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EVENT_TRACE, Ip};

    fn flow(l4: L4, reply: Option<bool>) -> Flow {
        let ip = |text: &str| text.parse().expect("literal address");
        let ip =
            Ip { source: ip("10.0.0.1"), destination: ip("10.0.0.2"), source_xlated: None, encrypted: false };
        let mut flow =
            Flow { ip: Some(ip), l4: Some(l4), is_reply: reply, event_type: EVENT_TRACE, ..Flow::default() };
        (flow.source.endpoint, flow.destination.endpoint) = (1, 2);
        flow
    }

    #[test]
    fn a_reply_tells_of_the_same_connection() {
        let there = flow(L4::Udp { source: 4000, destination: 53 }, Some(false));
        let back = flow(L4::Udp { source: 53, destination: 4000 }, Some(true));
        let (there, back) = (there.connection().expect("one"), back.connection().expect("one"));
        assert_eq!((there.client.endpoint, there.server.endpoint, there.port), (1, 2, 53));
        assert_eq!((back.client.endpoint, back.server.endpoint, back.port), (2, 1, 53));
        let echo = flow(L4::Icmp4 { kind: 0, code: 0 }, Some(true));
        assert_eq!(echo.connection().map(|c| (c.protocol, c.port)), Ok((1, 8)));
    }

    #[test]
    fn what_tells_no_connection() {
        let mut socket = flow(L4::Udp { source: 1, destination: 2 }, None);
        assert!(socket.connection().is_ok());
        socket.event_type = EVENT_TRACE_SOCK;
        assert_eq!(socket.connection(), Err(NoConnection::NoPacket));
        assert_eq!(Flow::default().connection(), Err(NoConnection::NoAddress));
        let fragment = Flow { l4: None, ..flow(L4::Udp { source: 1, destination: 2 }, None) };
        assert_eq!(fragment.connection(), Err(NoConnection::NoTransport));
    }
}
