//! Interfaces.

use crate::error::NetlinkError;
use crate::netns::NetNs;
use crate::socket::Netlink;
use crate::wire::{Attributes, Message, Received, text, u16_at, u32_at};
use std::os::fd::{AsFd, AsRawFd};

/// Length of `struct ifinfomsg`.
const IFINFOMSG: usize = 16;
/// IFLA_VXLAN_* (`linux/if_link.h`); libc does not have them.
mod vxlan {
    pub(super) const LEARNING: u16 = 7;
    pub(super) const PORT: u16 = 15;
    pub(super) const UDP_ZERO_CSUM6_TX: u16 = 19;
    pub(super) const UDP_ZERO_CSUM6_RX: u16 = 20;
    pub(super) const COLLECT_METADATA: u16 = 25;
}
/// VETH_INFO_PEER.
const VETH_PEER: u16 = 1;

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Index in its namespace.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Hardware address; none for devices without one.
    pub mac: Option<[u8; 6]>,
    /// Largest packet, bytes.
    pub mtu: u32,
    /// Whether it is set up (not: whether it has a carrier).
    pub up: bool,
    /// Whether it is a loopback device.
    pub loopback: bool,
    /// `veth`, `vxlan`, `bridge`, …; empty for hardware.
    pub kind: String,
    /// Index of the other end of a veth pair (or of the device below), in *its* namespace.
    pub peer: Option<u32>,
    /// Index of the bridge (or bond) it is a port of.
    pub master: Option<u32>,
    /// Largest segment offered to the device by TCP, bytes.
    pub gso_max_size: u32,
}

/// One end of a veth pair to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VethEnd<'a> {
    /// Name, at most 15 bytes.
    pub name: &'a str,
    /// Hardware address; none: the kernel draws one.
    pub mac: Option<[u8; 6]>,
    /// Largest packet, bytes; 0 = 1500.
    pub mtu: u32,
}

/// A VXLAN device to be made: it takes tunnel and identity from each packet's metadata and learns nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vxlan<'a> {
    /// Name, at most 15 bytes.
    pub name: &'a str,
    /// UDP port, host order.
    pub port: u16,
    /// Largest inner packet, bytes; 0 = as the kernel finds.
    pub mtu: u32,
    /// Hardware address; none: the kernel draws one.
    pub mac: Option<[u8; 6]>,
}

/// What to change of an interface; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkChange<'a> {
    /// Set it up or down.
    pub up: Option<bool>,
    /// Largest packet, bytes.
    pub mtu: Option<u32>,
    /// Hardware address.
    pub mac: Option<[u8; 6]>,
    /// New name.
    pub name: Option<&'a str>,
    /// Largest segments (sent and received), bytes.
    pub gso_gro_max_size: Option<u32>,
    /// Ask nobody for neighbours on it: packets carry its own hardware address as receiver.
    pub no_arp: bool,
    /// Take it off the bridge it is a port of.
    pub no_master: bool,
}

impl Netlink {
    /// Makes a veth pair; the peer appears directly in `namespace`, if one is given. The host's end is set up at once,
    /// the peer is not: the kernel would refuse (ENOTCONN), as it makes the peer before the two are joined.
    pub fn create_veth(
        &mut self,
        host: &VethEnd<'_>,
        peer: &VethEnd<'_>,
        namespace: Option<&NetNs>,
    ) -> Result<(), NetlinkError> {
        check_name(host.name)?;
        check_name(peer.name)?;
        let mut message = Message::new(libc::RTM_NEWLINK, CREATE, &ifinfomsg(0, Some(true)));
        put_end(&mut message, host);
        message.nest(libc::IFLA_LINKINFO, |info| {
            info.put(libc::IFLA_INFO_KIND, b"veth");
            info.nest(libc::IFLA_INFO_DATA, |data| {
                data.nest(VETH_PEER, |end| {
                    end.put_struct(&ifinfomsg(0, None));
                    put_end(end, peer);
                    if let Some(namespace) = namespace {
                        end.put_u32(libc::IFLA_NET_NS_FD, namespace.as_fd().as_raw_fd().cast_unsigned());
                    }
                });
            });
        });
        self.execute(message, || format!("create the veth pair {} - {}", host.name, peer.name))
    }

    /// Makes a VXLAN device, down.
    pub fn create_vxlan(&mut self, device: &Vxlan<'_>) -> Result<(), NetlinkError> {
        check_name(device.name)?;
        let mut message = Message::new(libc::RTM_NEWLINK, CREATE, &ifinfomsg(0, None));
        let Vxlan { name, mac, mtu, port } = *device;
        put_end(&mut message, &VethEnd { name, mac, mtu });
        message.nest(libc::IFLA_LINKINFO, |info| {
            info.put(libc::IFLA_INFO_KIND, b"vxlan");
            info.nest(libc::IFLA_INFO_DATA, |data| {
                data.put_u8(vxlan::COLLECT_METADATA, 1);
                data.put_u8(vxlan::LEARNING, 0);
                data.put(vxlan::PORT, &port.to_be_bytes());
                // An IPv6 underlay: peers may leave out the outer checksum, as for IPv4.
                data.put_u8(vxlan::UDP_ZERO_CSUM6_TX, 1);
                data.put_u8(vxlan::UDP_ZERO_CSUM6_RX, 1);
            });
        });
        self.execute(message, || format!("create the VXLAN device {name} on port {port}"))
    }

    /// The interface with this name.
    pub fn link(&mut self, name: &str) -> Result<Link, NetlinkError> {
        check_name(name)?;
        let mut message = Message::new(libc::RTM_GETLINK, 0, &ifinfomsg(0, None));
        message.put_text(libc::IFLA_IFNAME, name);
        self.ask(with_ack(message), || format!("find the interface {name}"), parse)
    }

    /// The interface with this name, if there is one.
    pub fn find_link(&mut self, name: &str) -> Result<Option<Link>, NetlinkError> {
        optional(self.link(name))
    }

    /// The interface with this index, if there is one.
    pub fn find_link_by_index(&mut self, index: u32) -> Result<Option<Link>, NetlinkError> {
        let message = Message::new(libc::RTM_GETLINK, 0, &ifinfomsg(index, None));
        optional(self.ask(with_ack(message), || format!("find the interface with index {index}"), parse))
    }

    /// All interfaces.
    pub fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        let message = Message::new(libc::RTM_GETLINK, libc::NLM_F_DUMP, &ifinfomsg(0, None));
        self.list(message, || "list interfaces".to_owned(), parse)
    }

    /// Changes an interface.
    pub fn change_link(&mut self, index: u32, change: &LinkChange<'_>) -> Result<(), NetlinkError> {
        let mut header = ifinfomsg(index, change.up);
        if change.no_arp {
            // The flags, and which of them to change.
            let flag = libc::IFF_NOARP.cast_unsigned();
            for at in [8, 12] {
                let word = u32_at(&header, at).unwrap_or_default() | flag;
                header[at..at + 4].copy_from_slice(&word.to_ne_bytes());
            }
        }
        let mut message = Message::new(libc::RTM_NEWLINK, libc::NLM_F_ACK, &header);
        if let Some(name) = change.name {
            check_name(name)?;
            message.put_text(libc::IFLA_IFNAME, name);
        }
        if let Some(mtu) = change.mtu {
            message.put_u32(libc::IFLA_MTU, mtu);
        }
        if let Some(mac) = change.mac {
            message.put(libc::IFLA_ADDRESS, &mac);
        }
        if change.no_master {
            message.put_u32(libc::IFLA_MASTER, 0);
        }
        if let Some(size) = change.gso_gro_max_size {
            message.put_u32(libc::IFLA_GSO_MAX_SIZE, size);
            message.put_u32(libc::IFLA_GRO_MAX_SIZE, size);
        }
        self.execute(message, || format!("change the interface with index {index} ({change:?})"))
    }

    /// Sets an interface up.
    pub fn set_link_up(&mut self, index: u32) -> Result<(), NetlinkError> {
        self.change_link(index, &LinkChange { up: Some(true), ..LinkChange::default() })
    }

    /// Removes an interface, of a veth pair both ends; says whether it was there.
    pub fn delete_link(&mut self, name: &str) -> Result<bool, NetlinkError> {
        check_name(name)?;
        let mut message = Message::new(libc::RTM_DELLINK, libc::NLM_F_ACK, &ifinfomsg(0, None));
        message.put_text(libc::IFLA_IFNAME, name);
        optional(self.execute(message, || format!("delete the interface {name}"))).map(|done| done.is_some())
    }
}

/// Flags of a request that makes something that must not exist yet.
pub(crate) const CREATE: i32 = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;

/// Turns "does not exist" into `None`.
pub(crate) fn optional<T>(result: Result<T, NetlinkError>) -> Result<Option<T>, NetlinkError> {
    match result {
        Err(error) if error.is_missing() => Ok(None),
        result => result.map(Some),
    }
}

/// A request for one object is answered by the object alone; the acknowledgement marks the end for the reader.
pub(crate) fn with_ack(message: Message) -> Message {
    message.flagged(libc::NLM_F_ACK)
}

fn check_name(name: &str) -> Result<(), NetlinkError> {
    let bad = |b: u8| b == b'/' || b == b':' || b == 0 || b.is_ascii_whitespace();
    if name.is_empty() || name.len() > 15 || name == "." || name == ".." || name.bytes().any(bad) {
        return Err(NetlinkError::Name { name: name.to_owned() });
    }
    Ok(())
}

/// `struct ifinfomsg`: family, pad, type, index, flags, which flags to change.
fn ifinfomsg(index: u32, up: Option<bool>) -> [u8; IFINFOMSG] {
    let flag = libc::IFF_UP.cast_unsigned();
    let (flags, mask) = match up {
        Some(up) => (if up { flag } else { 0 }, flag),
        None => (0, 0),
    };
    let mut bytes = [0; IFINFOMSG];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..16].copy_from_slice(&mask.to_ne_bytes());
    bytes
}

fn put_end(message: &mut Message, end: &VethEnd<'_>) {
    message.put_text(libc::IFLA_IFNAME, end.name);
    if let Some(mac) = end.mac {
        message.put(libc::IFLA_ADDRESS, &mac);
    }
    if end.mtu != 0 {
        message.put_u32(libc::IFLA_MTU, end.mtu);
    }
}

/// Reads an RTM_NEWLINK (or RTM_DELLINK) message.
pub(crate) fn parse(received: Received<'_>) -> Option<Link> {
    if received.kind != libc::RTM_NEWLINK && received.kind != libc::RTM_DELLINK {
        return None;
    }
    // A bridge's word about one of its ports: a link that leaves a bridge is "deleted" there, and is well.
    if received.payload.first().is_some_and(|family| i32::from(*family) == libc::AF_BRIDGE) {
        return None;
    }
    let flags = u32_at(received.payload, 8)?.cast_signed();
    let mut link = Link {
        index: u32_at(received.payload, 4)?,
        name: String::new(),
        mac: None,
        mtu: 0,
        up: flags & libc::IFF_UP != 0,
        loopback: u16_at(received.payload, 2)? == libc::ARPHRD_LOOPBACK,
        kind: String::new(),
        peer: None,
        master: None,
        gso_max_size: 0,
    };
    for (kind, value) in Attributes::after(received.payload, IFINFOMSG) {
        match kind {
            libc::IFLA_IFNAME => link.name = text(value),
            libc::IFLA_ADDRESS => link.mac = value.try_into().ok(),
            libc::IFLA_MTU => link.mtu = u32_at(value, 0)?,
            libc::IFLA_LINK => link.peer = u32_at(value, 0),
            libc::IFLA_MASTER => link.master = u32_at(value, 0),
            libc::IFLA_GSO_MAX_SIZE => link.gso_max_size = u32_at(value, 0)?,
            libc::IFLA_LINKINFO => {
                link.kind = Attributes(value)
                    .find(|(kind, _)| *kind == libc::IFLA_INFO_KIND)
                    .map(|(_, name)| text(name))
                    .unwrap_or_default();
            }
            _ => {}
        }
    }
    Some(link)
}
