//! Packet filter tables of both kinds, as far as chains and the jumps between them go: what somebody else left behind is
//! found, and removed with all that leads to it.
//!
//! Rules are not understood beyond their jumps. Two tables are made here: one keeps the connection table at work, one keeps
//! packets out of it.

mod nftables;
mod untracked;
mod xtables;

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::error::{KernelError, NetlinkError};
use nftables::Nftables;

/// Who keeps a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NfBackend {
    /// nf_tables: `nft`, and `iptables` of most distributions.
    Nftables,
    /// The tables of `iptables-legacy`.
    Legacy,
}

/// A table for packets of one family.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NfTable {
    /// Who keeps it.
    pub backend: NfBackend,
    /// For IPv6.
    pub v6: bool,
    /// `nat`, `filter`, …
    pub name: String,
}

/// A rule leads from one chain to another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NfJump {
    /// Where the rule stands.
    pub from: String,
    /// Where it leads.
    pub to: String,
}

/// Packets that the kernel's connection tracking leaves alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Untracked {
    /// An address, an IP protocol with ports, and a port (host order): packets to there, and from there.
    pub addresses: BTreeSet<(IpAddr, u8, u16)>,
    /// The same for this node, whatever its address: packets that come to the port, and that its processes send from it.
    pub ports: BTreeSet<(u8, u16)>,
}

impl Untracked {
    /// Whether it is nothing.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.ports.is_empty()
    }
}

/// A connection to the packet filters of the namespace in which it was opened. The tables of `iptables-legacy` are those
/// of the calling thread's namespace.
pub struct Netfilter {
    nftables: Option<Nftables>,
}

impl Netfilter {
    /// Opens it in the calling thread's namespace. A kernel without nf_tables has no tables of that kind.
    ///
    /// # Errors
    /// Not privileged.
    pub fn open() -> Result<Self, NetlinkError> {
        Ok(Self { nftables: Nftables::open()? })
    }

    /// All tables for IPv4 and for IPv6. Loads no module: what is not in use is not there.
    ///
    /// # Errors
    /// The kernel refuses to list them.
    pub fn tables(&mut self) -> Result<Vec<NfTable>, NetlinkError> {
        let mut tables = xtables::tables()?;
        if let Some(nftables) = &mut self.nftables {
            tables.extend(nftables.tables()?);
        }
        tables.sort();
        Ok(tables)
    }

    /// The chains of a table, those of hooks too.
    ///
    /// # Errors
    /// The kernel refuses to list them.
    pub fn chains(&mut self, table: &NfTable) -> Result<BTreeSet<String>, NetlinkError> {
        match (table.backend, &mut self.nftables) {
            (NfBackend::Legacy, _) => xtables::chains(table),
            (NfBackend::Nftables, Some(nftables)) => nftables.chains(table),
            (NfBackend::Nftables, None) => Ok(BTreeSet::new()),
        }
    }

    /// Which chains of a table lead to which.
    ///
    /// # Errors
    /// The kernel refuses to list the rules.
    pub fn jumps(&mut self, table: &NfTable) -> Result<BTreeSet<NfJump>, NetlinkError> {
        match (table.backend, &mut self.nftables) {
            (NfBackend::Legacy, _) => xtables::jumps(table),
            (NfBackend::Nftables, Some(nftables)) => nftables.jumps(table),
            (NfBackend::Nftables, None) => Ok(BTreeSet::new()),
        }
    }

    /// Removes chains with their rules, and the rules of other chains that lead to them; those first, so that no packet
    /// meets half a chain. Chains of hooks stay, and what is not there is no failure.
    ///
    /// # Errors
    /// The kernel refuses. With nf_tables a part may be gone; doing it again goes on.
    pub fn remove_chains(&mut self, table: &NfTable, chains: &BTreeSet<String>) -> Result<(), NetlinkError> {
        match (table.backend, &mut self.nftables) {
            (NfBackend::Legacy, _) => xtables::remove(table, chains),
            (NfBackend::Nftables, Some(nftables)) => nftables.remove_chains(table, chains),
            (NfBackend::Nftables, None) => Ok(()),
        }
    }

    /// Keeps the kernel's connection table and its translations at work, also when no rule is left that needs them:
    /// connections under way depend on them. Goes by [`Netfilter::release_connections`]; needs nf_tables, and does
    /// nothing without.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn hold_connections(&mut self, v6: bool) -> Result<(), NetlinkError> {
        self.nftables.as_mut().map_or(Ok(()), |nftables| nftables.hold(v6))
    }

    /// Undoes [`Netfilter::hold_connections`]; says whether there was something to undo.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn release_connections(&mut self, v6: bool) -> Result<bool, NetlinkError> {
        self.nftables.as_mut().map_or(Ok(false), |nftables| nftables.release(v6))
    }

    /// Makes this, and nothing else that was asked for before, untracked. Packets of connections under way are, too, from
    /// then on. Rules of others stay as they are.
    ///
    /// # Errors
    /// The kernel refuses, or has no nf_tables; nothing has changed then, but perhaps for one family.
    pub fn leave_untracked(&mut self, wanted: &Untracked) -> Result<(), NetlinkError> {
        match &mut self.nftables {
            Some(nftables) => {
                [false, true].into_iter().try_for_each(|v6| nftables.leave_untracked(wanted, v6))
            }
            None if wanted.is_empty() => Ok(()),
            None => Err(NetlinkError::Kernel {
                what: "reach nf_tables".to_owned(),
                source: KernelError { errno: libc::EOPNOTSUPP, message: String::new() },
            }),
        }
    }

    /// Whether what [`Netfilter::leave_untracked`] made is there, for each family that is concerned.
    ///
    /// # Errors
    /// The kernel refuses to list it.
    pub fn leaves_untracked(&mut self, wanted: &Untracked) -> Result<bool, NetlinkError> {
        let Some(nftables) = &mut self.nftables else { return Ok(wanted.is_empty()) };
        for v6 in [false, true] {
            let concerned = !wanted.ports.is_empty()
                || wanted.addresses.iter().any(|(address, ..)| address.is_ipv6() == v6);
            if concerned && !nftables.leaves_untracked(v6)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Removes a table of nf_tables with all that is in it; says whether it was there.
    ///
    /// # Errors
    /// The kernel refuses, or it is a table of `iptables-legacy`, which always exist.
    pub fn remove_table(&mut self, table: &NfTable) -> Result<bool, NetlinkError> {
        match (table.backend, &mut self.nftables) {
            (NfBackend::Nftables, Some(nftables)) => nftables.remove_table(table),
            _ => Ok(false),
        }
    }
}
