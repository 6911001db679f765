use crate::plain;

plain! {
/// An IP address of 16 bytes in network order; IPv4 is stored as `::ffff:a.b.c.d` (RFC 4291 §2.5.5.2), so that one
/// path, one conntrack and one policy serve both families. Words, not bytes, so the kernel compares it in two steps.
pub struct Addr { pub words: [u32; 4] } size 16
}

/// The third word of an IPv4-mapped address: 0x0000ffff in network order.
const MAPPED: u32 = 0x0000_ffff_u32.to_be();

impl Addr {
    /// `::`, used where no address is set.
    pub const UNSPECIFIED: Addr = Addr { words: [0; 4] };

    /// From an IPv4 address as it lies in a packet (network order, loaded natively).
    #[inline(always)]
    pub const fn v4(word: u32) -> Self {
        Addr { words: [0, 0, MAPPED, word] }
    }

    /// Whether this holds an IPv4 address.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.words[0] == 0 && self.words[1] == 0 && self.words[2] == MAPPED
    }

    /// The IPv4 address as it lies in a packet. Meaningless unless [`Addr::is_v4`].
    #[inline(always)]
    pub const fn v4_word(&self) -> u32 {
        self.words[3]
    }

    /// Whether no address is set.
    #[inline(always)]
    pub const fn is_unspecified(&self) -> bool {
        (self.words[0] | self.words[1] | self.words[2] | self.words[3]) == 0
    }

    /// Equality without a call to `memcmp`, which has no cheap form in the kernel.
    #[inline(always)]
    pub const fn same(&self, other: &Addr) -> bool {
        ((self.words[0] ^ other.words[0])
            | (self.words[1] ^ other.words[1])
            | (self.words[2] ^ other.words[2])
            | (self.words[3] ^ other.words[3]))
            == 0
    }

    /// The total order of [`crate::FlowKey`]: by words as stored. Any total order will do, it only has to be the same
    /// for both directions of a flow.
    #[inline(always)]
    pub const fn below(&self, other: &Addr) -> bool {
        let mut i = 0;
        while i < 4 {
            if self.words[i] != other.words[i] {
                return self.words[i] < other.words[i];
            }
            i += 1;
        }
        false
    }

    /// Whether this address lies in `base/len`, `len` counted in the 128-bit space (an IPv4 /24 is 120).
    #[inline(always)]
    pub const fn within(&self, base: &Addr, len: u32) -> bool {
        let mut i = 0;
        let mut left = len;
        while i < 4 {
            let bits = if left > 32 { 32 } else { left };
            if bits > 0 {
                let mask = (u32::MAX << (32 - bits)).to_be();
                if (self.words[i] ^ base.words[i]) & mask != 0 {
                    return false;
                }
            }
            left -= bits;
            i += 1;
        }
        true
    }
}

#[cfg(any(test, feature = "user"))]
mod user {
    use super::Addr;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    impl From<IpAddr> for Addr {
        fn from(ip: IpAddr) -> Self {
            let o = match ip {
                IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                IpAddr::V6(v6) => v6.octets(),
            };
            let word = |i: usize| u32::from_ne_bytes([o[i], o[i + 1], o[i + 2], o[i + 3]]);
            Addr { words: [word(0), word(4), word(8), word(12)] }
        }
    }

    impl From<Ipv4Addr> for Addr {
        fn from(ip: Ipv4Addr) -> Self {
            IpAddr::V4(ip).into()
        }
    }

    impl From<Addr> for IpAddr {
        fn from(addr: Addr) -> Self {
            let mut o = [0; 16];
            for (i, word) in addr.words.iter().enumerate() {
                o[i * 4..i * 4 + 4].copy_from_slice(&word.to_ne_bytes());
            }
            if addr.is_v4() {
                IpAddr::V4(Ipv4Addr::new(o[12], o[13], o[14], o[15]))
            } else {
                IpAddr::V6(Ipv6Addr::from(o))
            }
        }
    }

    impl std::fmt::Display for Addr {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            IpAddr::from(*self).fmt(f)
        }
    }
}
