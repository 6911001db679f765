use crate::{Label, Labels};
use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

/// A security identity: the number that stands for a set of labels, in packets, maps and tools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NumericIdentity(pub u32);

/// An identity with a fixed number and fixed labels.
#[derive(Debug, PartialEq, Eq)]
pub struct Reserved {
    /// The number.
    pub id: NumericIdentity,
    /// Its name: the label `reserved:name`.
    pub name: &'static str,
    /// A second reserved label, which only the API server has.
    also: Option<&'static str>,
}

impl NumericIdentity {
    /// Nothing is known yet.
    pub const UNKNOWN: Self = Self(0);
    /// This node.
    pub const HOST: Self = Self(1);
    /// Outside the cluster (single stack).
    pub const WORLD: Self = Self(2);
    /// A pod that another plugin runs.
    pub const UNMANAGED: Self = Self(3);
    /// The health endpoint.
    pub const HEALTH: Self = Self(4);
    /// A pod whose labels are not known yet.
    pub const INIT: Self = Self(5);
    /// Another node.
    pub const REMOTE_NODE: Self = Self(6);
    /// The Kubernetes API server on another node.
    pub const KUBE_APISERVER: Self = Self(7);
    /// The Ingress proxy.
    pub const INGRESS: Self = Self(8);
    /// Outside, IPv4 (dual stack).
    pub const WORLD_IPV4: Self = Self(9);
    /// Outside, IPv6 (dual stack).
    pub const WORLD_IPV6: Self = Self(10);

    /// Numbers that the cluster allocates for pod labels.
    pub const CLUSTER: std::ops::RangeInclusive<u32> = 256..=65_535;
    /// Numbers that each node allocates by itself for prefixes; they never leave the node.
    pub const LOCAL: std::ops::RangeInclusive<u32> = 0x0100_0001..=0x01ff_ffff;

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Whether the number has a meaning on this node alone.
    pub const fn is_local(self) -> bool {
        self.0 >> 24 == 1
    }

    /// The fixed identity with this number.
    pub fn reserved(self) -> Option<&'static Reserved> {
        Reserved::ALL.iter().find(|reserved| reserved.id == self)
    }
}

impl Reserved {
    /// All ten that tools list, by number. 0 (`unknown`) is no identity of anything and stands apart.
    pub const ALL: &'static [Reserved] = &[
        Self::new(NumericIdentity::HOST, "host", None),
        Self::new(NumericIdentity::WORLD, "world", None),
        Self::new(NumericIdentity::UNMANAGED, "unmanaged", None),
        Self::new(NumericIdentity::HEALTH, "health", None),
        Self::new(NumericIdentity::INIT, "init", None),
        Self::new(NumericIdentity::REMOTE_NODE, "remote-node", None),
        Self::new(NumericIdentity::KUBE_APISERVER, "kube-apiserver", Some("remote-node")),
        Self::new(NumericIdentity::INGRESS, "ingress", None),
        Self::new(NumericIdentity::WORLD_IPV4, "world-ipv4", None),
        Self::new(NumericIdentity::WORLD_IPV6, "world-ipv6", None),
    ];

    const fn new(id: NumericIdentity, name: &'static str, also: Option<&'static str>) -> Self {
        Self { id, name, also }
    }

    /// The identity with this name.
    pub fn by_name(name: &str) -> Option<&'static Reserved> {
        Self::ALL.iter().find(|reserved| reserved.name == name)
    }

    /// Its labels.
    pub fn labels(&self) -> Labels {
        [Some(self.name), self.also].into_iter().flatten().map(Label::reserved).collect()
    }
}

impl From<u32> for NumericIdentity {
    fn from(number: u32) -> Self {
        Self(number)
    }
}

impl From<NumericIdentity> for u32 {
    fn from(identity: NumericIdentity) -> Self {
        identity.0
    }
}

impl fmt::Display for NumericIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for NumericIdentity {
    type Err = ParseIntError;

    /// Reads a number, or the name of a reserved identity.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match Reserved::by_name(text) {
            Some(reserved) => Ok(reserved.id),
            None => text.parse().map(Self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_one_that_tools_print() {
        let table: Vec<_> = Reserved::ALL.iter().map(|r| format!("{} {}", r.id, r.labels())).collect();
        assert_eq!(
            table,
            [
                "1 reserved:host",
                "2 reserved:world",
                "3 reserved:unmanaged",
                "4 reserved:health",
                "5 reserved:init",
                "6 reserved:remote-node",
                "7 reserved:kube-apiserver,reserved:remote-node",
                "8 reserved:ingress",
                "9 reserved:world-ipv4",
                "10 reserved:world-ipv6",
            ]
        );
        assert_eq!("health".parse(), Ok(NumericIdentity::HEALTH));
        assert_eq!("4711".parse(), Ok(NumericIdentity(4711)));
        assert!(NumericIdentity(0).reserved().is_none());
    }

    #[test]
    fn local_numbers_are_known_as_such() {
        assert!(NumericIdentity(0x0100_0001).is_local() && !NumericIdentity(65_535).is_local());
        assert!(!NumericIdentity(0x0200_0001).is_local());
    }
}
