use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

/// An address family. `Display` writes `IPv4` or `IPv6`, as status lines do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both families, IPv4 first, which is the order of every list in status and in objects.
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// The number of bits of an address.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }

    /// The family of an address.
    #[must_use]
    pub const fn of(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }

    /// The family of a prefix.
    #[must_use]
    pub const fn of_net(net: &IpNet) -> Self {
        match net {
            IpNet::V4(_) => Family::V4,
            IpNet::V6(_) => Family::V6,
        }
    }

    /// The address whose integer value is `bits`; bits beyond the family's width are cut off.
    pub(crate) fn addr(self, bits: u128) -> IpAddr {
        match self {
            // The mask makes the conversion lossless.
            Family::V4 => IpAddr::V4(((bits & u128::from(u32::MAX)) as u32).into()),
            Family::V6 => IpAddr::V6(bits.into()),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

/// An address as an integer, in which ranges are counted.
pub(crate) fn number(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}
