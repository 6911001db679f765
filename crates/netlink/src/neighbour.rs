//! Neighbours: which hardware address answers for which IP address.

use crate::error::NetlinkError;
use crate::link::optional;
use crate::socket::Netlink;
use crate::wire::{Attributes, Message, Received, family, ip, u16_at, u32_at};
use std::net::IpAddr;

/// Length of `struct ndmsg`.
const NDMSG: usize = 12;

/// A neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Index of the interface behind which it is.
    pub link: u32,
    /// Its address.
    pub ip: IpAddr,
    /// Its hardware address; none while it is being asked for.
    pub mac: Option<[u8; 6]>,
    /// Whether it was set for good and is never asked for.
    pub permanent: bool,
}

impl Netlink {
    /// Sets a neighbour for good; a repetition changes nothing, another hardware address replaces the old one.
    pub fn set_neighbour(&mut self, link: u32, ip: IpAddr, mac: [u8; 6]) -> Result<(), NetlinkError> {
        let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
        let mut message = request(libc::RTM_NEWNEIGH, flags, link, ip);
        message.put(libc::NDA_LLADDR, &mac);
        self.execute(message, || format!("set the neighbour {ip} of the interface with index {link}"))
    }

    /// Removes a neighbour; says whether it was there.
    pub fn delete_neighbour(&mut self, link: u32, ip: IpAddr) -> Result<bool, NetlinkError> {
        let message = request(libc::RTM_DELNEIGH, libc::NLM_F_ACK, link, ip);
        let result =
            self.execute(message, || format!("remove the neighbour {ip} of the interface with index {link}"));
        optional(result).map(|done| done.is_some())
    }

    /// Neighbours of one interface, or of all.
    pub fn neighbours(&mut self, link: Option<u32>) -> Result<Vec<Neighbour>, NetlinkError> {
        let message = Message::new(libc::RTM_GETNEIGH, libc::NLM_F_DUMP, &[0; NDMSG]);
        let all = self.list(message, || "list neighbours".to_owned(), parse)?;
        Ok(all.into_iter().filter(|neighbour| link.is_none_or(|link| link == neighbour.link)).collect())
    }
}

/// `struct ndmsg`: family, padding, index, state, flags, type.
fn request(kind: u16, flags: i32, link: u32, ip: IpAddr) -> Message {
    let mut header = [0; NDMSG];
    header[0] = family(ip);
    header[4..8].copy_from_slice(&link.to_ne_bytes());
    header[8..10].copy_from_slice(&libc::NUD_PERMANENT.to_ne_bytes());
    let mut message = Message::new(kind, flags, &header);
    message.put_ip(libc::NDA_DST, ip);
    message
}

fn parse(received: Received<'_>) -> Option<Neighbour> {
    if received.kind != libc::RTM_NEWNEIGH {
        return None;
    }
    let state = u16_at(received.payload, 8)?;
    let (mut address, mut mac) = (None, None);
    for (kind, value) in Attributes::after(received.payload, NDMSG) {
        match kind {
            libc::NDA_DST => address = ip(value),
            libc::NDA_LLADDR => mac = value.try_into().ok(),
            _ => {}
        }
    }
    let permanent = state & libc::NUD_PERMANENT != 0;
    Some(Neighbour { link: u32_at(received.payload, 4)?, ip: address?, mac, permanent })
}
