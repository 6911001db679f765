//! Closing sockets of others (`man 7 sock_diag`; closing: kernel 4.5, `CONFIG_INET_DIAG_DESTROY`).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustix::net::SocketFlags;

use crate::error::NetlinkError;
use crate::socket::{Netlink, open_socket};
use crate::wire::{Message, Received, u32_at};

/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
/// `SOCK_DESTROY`.
const DESTROY: u16 = 21;
const UDP: u8 = 17;
/// Length of `struct inet_diag_sockid`.
const ID: usize = 48;
/// Where it lies in `struct inet_diag_msg`.
const ID_AT: usize = 4;

/// A UDP socket that was connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectedSocket {
    /// Its peer.
    pub peer: (IpAddr, u16),
    /// The kernel's number for it, as BPF programs see it.
    pub cookie: u64,
    family: u8,
    id: [u8; ID],
}

/// A connection to the kernel's list of sockets, in the namespace in which it was opened.
pub struct SocketDiag {
    netlink: Netlink,
}

impl SocketDiag {
    /// Opens it in the calling thread's namespace.
    ///
    /// # Errors
    /// The kernel has no such list.
    pub fn open() -> Result<Self, NetlinkError> {
        Ok(Self {
            netlink: Netlink::over(open_socket(SocketFlags::CLOEXEC, Some(rustix::net::netlink::SOCK_DIAG))?),
        })
    }

    /// The connected UDP sockets of this namespace that speak to one of `peers`.
    ///
    /// # Errors
    /// The kernel refuses to list them.
    pub fn connected_udp(
        &mut self,
        peers: &BTreeSet<(IpAddr, u16)>,
    ) -> Result<Vec<ConnectedSocket>, NetlinkError> {
        let mut found = Vec::new();
        for family in [libc::AF_INET as u8, libc::AF_INET6 as u8] {
            let request = Message::new(BY_FAMILY, libc::NLM_F_DUMP, &request(family, &[0; ID]));
            let sockets = self.netlink.list(request, || "list UDP sockets".to_owned(), parse)?;
            found.extend(sockets.into_iter().filter(|socket| peers.contains(&socket.peer)));
        }
        Ok(found)
    }

    /// Closes a socket: its owner's calls fail with `ECONNABORTED`. `false`: it was gone already.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn close(&mut self, socket: &ConnectedSocket) -> Result<bool, NetlinkError> {
        let request = Message::new(DESTROY, libc::NLM_F_ACK, &request(socket.family, &socket.id));
        match self.netlink.execute(request, || format!("close a socket to {}", socket.peer.0)) {
            Ok(()) => Ok(true),
            Err(error) if error.is_missing() => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// `struct inet_diag_req_v2`: all states.
fn request(family: u8, id: &[u8; ID]) -> Vec<u8> {
    let mut bytes = vec![family, UDP, 0, 0];
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(id);
    bytes
}

fn parse(received: Received<'_>) -> Option<ConnectedSocket> {
    let family = *received.payload.first()?;
    let id: [u8; ID] = received.payload.get(ID_AT..ID_AT + ID)?.try_into().ok()?;
    let port = u16::from_be_bytes([id[2], id[3]]);
    // Not connected.
    if port == 0 {
        return None;
    }
    let address: [u8; 16] = id[20..36].try_into().ok()?;
    let ip = if i32::from(family) == libc::AF_INET {
        Ipv4Addr::new(address[0], address[1], address[2], address[3]).into()
    } else {
        let v6 = Ipv6Addr::from(address);
        v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4)
    };
    let (low, high) = (u32_at(&id, 40)?, u32_at(&id, 44)?);
    let cookie = u64::from(low) | u64::from(high) << 32;
    Some(ConnectedSocket { peer: (ip, port), cookie, family, id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn a_connected_socket_is_found_and_closed() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let client = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let peer = server.local_addr().expect("address");
        client.connect(peer).expect("connect");
        let mut diag = match SocketDiag::open() {
            Ok(diag) => diag,
            Err(error) => return println!("skipped: {error}"),
        };
        let peers = BTreeSet::from([(peer.ip(), peer.port())]);
        let found = diag.connected_udp(&peers).expect("list");
        assert_eq!(found.len(), 1);
        match diag.close(&found[0]) {
            Ok(closed) => assert!(closed),
            Err(error) => return println!("skipped: {error}"),
        }
        assert!(client.send(b"x").is_err(), "the socket is closed");
        assert!(!diag.close(&found[0]).expect("closing what is gone"));
    }
}
