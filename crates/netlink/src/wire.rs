//! Writing and reading netlink messages (RFC 3549; `man 7 netlink`). Integers are in the machine's order.

use std::net::IpAddr;

/// Length of the header of every message.
pub(crate) const HEADER: usize = 16;

/// A message to the kernel.
#[derive(Clone)]
pub(crate) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A request of type `kind`; `family` is the fixed struct that follows the header.
    pub(crate) fn new(kind: u16, flags: i32, family: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&kind.to_ne_bytes());
        // All NLM_F_* flags fit 16 bits; libc declares them as int.
        bytes.extend_from_slice(&((flags | libc::NLM_F_REQUEST) as u16).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        let mut message = Message { bytes };
        message.raw(family);
        message
    }

    /// The same message with more flags.
    pub(crate) fn flagged(mut self, flags: i32) -> Self {
        let old = u16_at(&self.bytes, 6).unwrap_or_default();
        self.bytes[6..8].copy_from_slice(&(old | flags as u16).to_ne_bytes());
        self
    }

    fn raw(&mut self, data: &[u8]) {
        self.bytes.extend_from_slice(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// Appends an attribute. Values are far below 64 KiB here: names, addresses, numbers.
    pub(crate) fn put(&mut self, kind: u16, value: &[u8]) {
        let length = (value.len() + 4) as u16;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.raw(value);
    }

    pub(crate) fn put_u8(&mut self, kind: u16, value: u8) {
        self.put(kind, &[value]);
    }

    pub(crate) fn put_u32(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_ne_bytes());
    }

    pub(crate) fn put_text(&mut self, kind: u16, value: &str) {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.put(kind, &bytes);
    }

    pub(crate) fn put_ip(&mut self, kind: u16, ip: IpAddr) {
        match ip {
            IpAddr::V4(v4) => self.put(kind, &v4.octets()),
            IpAddr::V6(v6) => self.put(kind, &v6.octets()),
        }
    }

    /// Appends an attribute that holds attributes.
    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.put(kind, &[]);
        fill(self);
        let length = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }

    /// Appends a fixed struct within a nested attribute.
    pub(crate) fn put_struct(&mut self, data: &[u8]) {
        self.raw(data);
    }

    /// The finished message.
    pub(crate) fn finish(&mut self, sequence: u32) -> &[u8] {
        let length = self.bytes.len() as u32;
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        &self.bytes
    }
}

/// A message from the kernel.
#[derive(Clone, Copy)]
pub(crate) struct Received<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: i32,
    pub(crate) sequence: u32,
    pub(crate) payload: &'a [u8],
}

/// The messages of one datagram.
pub(crate) struct Messages<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Received<'a>;

    fn next(&mut self) -> Option<Received<'a>> {
        let length = u32_at(self.0, 0)? as usize;
        let payload = self.0.get(HEADER..length)?;
        let message = Received {
            kind: u16_at(self.0, 4)?,
            flags: i32::from(u16_at(self.0, 6)?),
            sequence: u32_at(self.0, 8)?,
            payload,
        };
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    }
}

/// Attributes as (kind, value); ends at the first one that does not fit.
pub(crate) struct Attributes<'a>(pub(crate) &'a [u8]);

impl<'a> Attributes<'a> {
    /// Those that follow a fixed struct of `length` bytes.
    pub(crate) fn after(payload: &'a [u8], length: usize) -> Self {
        Attributes(payload.get(length..).unwrap_or_default())
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16_at(self.0, 0)?);
        // The upper two bits are flags (nested, network order).
        let kind = u16_at(self.0, 2)? & 0x3fff;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map(u16::from_ne_bytes)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_ne_bytes)
}

/// An address from 4 or 16 bytes.
pub(crate) fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// Text up to its NUL.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// The address family's number of an address.
pub(crate) fn family(ip: IpAddr) -> u8 {
    // AF_INET and AF_INET6 are 2 and 10.
    if ip.is_ipv4() { libc::AF_INET as u8 } else { libc::AF_INET6 as u8 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let mut message = Message::new(16, 0, &[7; 16]);
        message.put_text(3, "lxc1");
        message.nest(18, |m| {
            m.put_u32(1, 9);
            m.put_u8(2, 1);
        });
        let bytes = message.finish(5).to_vec();
        let received = Messages(&bytes).next().expect("a message");
        assert_eq!((received.kind, received.sequence, received.payload.len()), (16, 5, bytes.len() - HEADER));
        let attributes: Vec<_> = Attributes::after(received.payload, 16).collect();
        assert_eq!(text(attributes[0].1), "lxc1");
        let inner: Vec<_> = Attributes(attributes[1].1).collect();
        assert_eq!(inner, [(1, &9_u32.to_ne_bytes()[..]), (2, &[1][..])]);
    }

    #[test]
    fn rubbish_ends_the_reading() {
        for length in 0..40_u8 {
            let bytes = vec![length; usize::from(length)];
            assert!(Messages(&bytes).count() <= 3);
            assert!(Attributes(&bytes).count() <= 10);
        }
        // A length of zero must not loop for ever.
        assert_eq!(Messages(&[0; 64]).count(), 0);
        assert_eq!(Attributes(&[0; 64]).count(), 0);
    }
}
