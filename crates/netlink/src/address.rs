//! Addresses of interfaces.

use crate::error::NetlinkError;
use crate::link::optional;
use crate::socket::Netlink;
use crate::wire::{Attributes, Message, Received, family, ip, u32_at};
use ipnet::IpNet;

/// Length of `struct ifaddrmsg`.
const IFADDRMSG: usize = 8;

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// Index of the interface.
    pub link: u32,
    /// The address with the length of its prefix; host bits kept.
    pub net: IpNet,
}

impl Netlink {
    /// Gives an interface an address; a repetition changes nothing. IPv6 addresses are usable at once: whoever assigns
    /// addresses here knows that they are unique, so duplicate address detection only costs a second.
    pub fn set_address(&mut self, link: u32, net: IpNet) -> Result<(), NetlinkError> {
        let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
        let message = request(libc::RTM_NEWADDR, flags, link, net);
        self.execute(message, || format!("add the address {net} to the interface with index {link}"))
    }

    /// Takes an address away; says whether it was there.
    pub fn delete_address(&mut self, link: u32, net: IpNet) -> Result<bool, NetlinkError> {
        let message = request(libc::RTM_DELADDR, libc::NLM_F_ACK, link, net);
        let result = self
            .execute(message, || format!("remove the address {net} from the interface with index {link}"));
        optional(result).map(|done| done.is_some())
    }

    /// Addresses of one interface, or of all.
    pub fn addresses(&mut self, link: Option<u32>) -> Result<Vec<Address>, NetlinkError> {
        let message = Message::new(libc::RTM_GETADDR, libc::NLM_F_DUMP, &[0; IFADDRMSG]);
        let all = self.list(message, || "list addresses".to_owned(), parse)?;
        Ok(all.into_iter().filter(|address| link.is_none_or(|link| link == address.link)).collect())
    }
}

fn request(kind: u16, flags: i32, link: u32, net: IpNet) -> Message {
    let address = net.addr();
    // Both flags fit the byte of the header and are ignored for IPv4.
    let dad = (libc::IFA_F_NODAD | libc::IFA_F_PERMANENT) as u8;
    let header_flags = if address.is_ipv6() { dad } else { 0 };
    let mut header = [family(address), net.prefix_len(), header_flags, 0, 0, 0, 0, 0];
    header[4..8].copy_from_slice(&link.to_ne_bytes());
    let mut message = Message::new(kind, flags, &header);
    message.put_ip(libc::IFA_LOCAL, address);
    message.put_ip(libc::IFA_ADDRESS, address);
    message
}

/// Reads an RTM_NEWADDR (or RTM_DELADDR) message.
pub(crate) fn parse(received: Received<'_>) -> Option<Address> {
    if received.kind != libc::RTM_NEWADDR && received.kind != libc::RTM_DELADDR {
        return None;
    }
    let length = *received.payload.get(1)?;
    let (mut local, mut address) = (None, None);
    for (kind, value) in Attributes::after(received.payload, IFADDRMSG) {
        match kind {
            libc::IFA_LOCAL => local = ip(value),
            libc::IFA_ADDRESS => address = ip(value),
            _ => {}
        }
    }
    // IFA_ADDRESS is the far end on a point-to-point IPv4 interface; IPv6 has it alone.
    let net = IpNet::new(local.or(address)?, length).ok()?;
    Some(Address { link: u32_at(received.payload, 4)?, net })
}
