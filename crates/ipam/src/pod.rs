//! The node's half: single addresses for pods.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::Family;
use crate::block::Block;

/// The owner under which the router's addresses are held.
pub const ROUTER_OWNER: &str = "router";

/// Why an address could not be handed out, claimed or released.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PodError {
    /// No free address is left in the family's CIDRs.
    #[error(
        "no {family} address is left for {owner}: all {total} addresses of {cidrs} are in use; remove pods from this node, or \
         give nodes larger blocks (a smaller cluster-pool mask size; it holds for nodes that join afterwards)"
    )]
    Exhausted {
        /// The family that ran out.
        family: Family,
        /// Who asked.
        owner: String,
        /// The family's CIDRs, separated by commas.
        cidrs: String,
        /// How many addresses they have.
        total: u64,
    },
    /// The node has no CIDR of this family.
    #[error(
        "this node has no {family} pod CIDR to take an address for {owner} from; wait until the operator has assigned one, or switch {family} off"
    )]
    NoCidr {
        /// The family asked for.
        family: Family,
        /// Who asked.
        owner: String,
    },
    /// The address belongs to somebody else.
    #[error("address {addr} cannot be given to {owner}: {holder} holds it")]
    InUse {
        /// The address.
        addr: IpAddr,
        /// Who asked.
        owner: String,
        /// Who has it.
        holder: String,
    },
    /// The address is in none of this node's CIDRs.
    #[error(
        "address {addr} cannot be given to {owner}: it is in none of this node's pod CIDRs ({cidrs}); restart the pod to give it a new one"
    )]
    Outside {
        /// The address.
        addr: IpAddr,
        /// Who asked.
        owner: String,
        /// The node's CIDRs, separated by commas.
        cidrs: String,
    },
    /// The address is the network or broadcast address of a CIDR.
    #[error(
        "address {addr} cannot be given to {owner}: it is the first or last address of a pod CIDR, which no pod gets"
    )]
    Reserved {
        /// The address.
        addr: IpAddr,
        /// Who asked.
        owner: String,
    },
    /// Two of the node's CIDRs share addresses.
    #[error(
        "the pod CIDRs {first} and {second} of this node overlap; remove one of them from its CiliumNode object"
    )]
    Overlap {
        /// One CIDR.
        first: IpNet,
        /// The other.
        second: IpNet,
    },
}

/// The addresses of one pod, one for each family that the node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PodLease {
    /// The IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// The IPv6 address.
    pub v6: Option<Ipv6Addr>,
}

/// How full a family is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Addresses in use, the router's included.
    pub used: u64,
    /// Addresses that can be handed out in all (254 for a /24).
    pub total: u64,
}

/// Hands out the addresses of a node's pod CIDRs.
///
/// Never used addresses come first, CIDR by CIDR; then released ones, the longest released first, so that a new pod
/// rarely meets connections meant for a dead one. The first address of the first CIDR of each family is the router's.
#[derive(Debug, Clone, Default)]
pub struct PodAllocator {
    blocks: Vec<Block>,
    owners: BTreeMap<IpAddr, String>,
    /// Addresses free again, oldest first. Each is in here at most once.
    released: VecDeque<IpAddr>,
}

impl PodAllocator {
    /// An allocator over `cidrs`. `routers` are the router addresses found on the node at start; of each family, one
    /// inside the CIDRs is kept, otherwise the first free address is taken.
    ///
    /// # Errors
    /// [`PodError::Overlap`], [`PodError::Exhausted`] (a CIDR without room even for the router).
    pub fn new(cidrs: impl IntoIterator<Item = IpNet>, routers: &[IpAddr]) -> Result<Self, PodError> {
        let mut allocator = Self::default();
        allocator.set_cidrs(cidrs)?;
        for addr in routers {
            if allocator.router(Family::of(*addr)).is_none() {
                // A router address from an earlier CIDR is stale, not an error.
                let _ = allocator.claim(*addr, ROUTER_OWNER);
            }
        }
        for family in allocator.families() {
            if allocator.router(family).is_none() {
                allocator.allocate_family(family, ROUTER_OWNER)?;
            }
        }
        Ok(allocator)
    }

    /// Replaces the CIDRs, for instance when a family was added. Addresses in use of a CIDR that went away stay with
    /// their owners until released, but are not handed out again.
    ///
    /// # Errors
    /// [`PodError::Overlap`]; the allocator is then unchanged.
    pub fn set_cidrs(&mut self, cidrs: impl IntoIterator<Item = IpNet>) -> Result<(), PodError> {
        let mut wanted: Vec<IpNet> = Vec::new();
        for net in cidrs.into_iter().map(|net| net.trunc()) {
            if wanted.contains(&net) {
                continue;
            }
            if let Some(first) = wanted.iter().find(|w| w.contains(&net) || net.contains(*w)) {
                return Err(PodError::Overlap { first: *first, second: net });
            }
            wanted.push(net);
        }
        let mut old = std::mem::take(&mut self.blocks);
        self.blocks = wanted
            .into_iter()
            .map(|net| match old.iter().position(|block| block.net() == net) {
                Some(at) => old.swap_remove(at),
                None => self.fresh_block(net),
            })
            .collect();
        let blocks = &self.blocks;
        self.released.retain(|addr| blocks.iter().any(|block| block.net().contains(addr)));
        Ok(())
    }

    /// The families that this node has CIDRs of.
    pub fn families(&self) -> Vec<Family> {
        Family::ALL.into_iter().filter(|family| self.blocks_of(*family).next().is_some()).collect()
    }

    /// The CIDRs, in the order given.
    pub fn cidrs(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.blocks.iter().map(Block::net)
    }

    /// One address of every family the node has, or none at all.
    ///
    /// # Errors
    /// [`PodError::Exhausted`], [`PodError::NoCidr`] if there is no CIDR of any family.
    pub fn allocate(&mut self, owner: &str) -> Result<PodLease, PodError> {
        let families = self.families();
        if families.is_empty() {
            return Err(PodError::NoCidr { family: Family::V4, owner: owner.to_owned() });
        }
        let mut lease = PodLease::default();
        for family in families {
            match self.allocate_family(family, owner) {
                Ok(IpAddr::V4(addr)) => lease.v4 = Some(addr),
                Ok(IpAddr::V6(addr)) => lease.v6 = Some(addr),
                Err(error) => {
                    for addr in lease.addresses() {
                        self.release(addr);
                    }
                    return Err(error);
                }
            }
        }
        Ok(lease)
    }

    /// One address of one family.
    ///
    /// # Errors
    /// [`PodError::Exhausted`], [`PodError::NoCidr`].
    pub fn allocate_family(&mut self, family: Family, owner: &str) -> Result<IpAddr, PodError> {
        let addr = match self.take_fresh(family).or_else(|| self.take_released(family)) {
            Some(addr) => addr,
            None => return Err(self.nothing_left(family, owner)),
        };
        self.owners.insert(addr, owner.to_owned());
        Ok(addr)
    }

    /// Takes one certain address: restored at start, or asked for. Claiming an address that `owner` already holds is
    /// no error.
    ///
    /// # Errors
    /// [`PodError::InUse`], [`PodError::Outside`], [`PodError::Reserved`].
    pub fn claim(&mut self, addr: IpAddr, owner: &str) -> Result<(), PodError> {
        if let Some(holder) = self.owners.get(&addr) {
            if holder == owner {
                return Ok(());
            }
            return Err(PodError::InUse { addr, owner: owner.to_owned(), holder: holder.clone() });
        }
        let cidrs = join(self.cidrs());
        let Some(block) = self.blocks.iter_mut().find(|block| block.net().contains(&addr)) else {
            return Err(PodError::Outside { addr, owner: owner.to_owned(), cidrs });
        };
        if block.is_reserved(addr) {
            return Err(PodError::Reserved { addr, owner: owner.to_owned() });
        }
        block.take(addr);
        self.released.retain(|released| *released != addr);
        self.owners.insert(addr, owner.to_owned());
        Ok(())
    }

    /// Gives an address back. Returns who held it; `None` if nobody did, which is no error (a second DEL).
    pub fn release(&mut self, addr: IpAddr) -> Option<String> {
        let owner = self.owners.remove(&addr)?;
        if self.blocks.iter().any(|block| block.hands_out(addr)) {
            self.released.push_back(addr);
        }
        Some(owner)
    }

    /// Gives back all that `owner` holds, and says what that was.
    pub fn release_owner(&mut self, owner: &str) -> Vec<IpAddr> {
        let held: Vec<_> = self.owners.iter().filter(|(_, o)| *o == owner).map(|(addr, _)| *addr).collect();
        for addr in &held {
            self.release(*addr);
        }
        held
    }

    /// Who holds an address.
    pub fn owner(&self, addr: IpAddr) -> Option<&str> {
        self.owners.get(&addr).map(String::as_str)
    }

    /// The router's address.
    pub fn router(&self, family: Family) -> Option<IpAddr> {
        self.allocations()
            .find(|(addr, owner)| *owner == ROUTER_OWNER && Family::of(*addr) == family)
            .map(|(addr, _)| addr)
    }

    /// Everything in use, in order of address, IPv4 first.
    pub fn allocations(&self) -> impl Iterator<Item = (IpAddr, &str)> {
        self.owners.iter().map(|(addr, owner)| (*addr, owner.as_str()))
    }

    /// How full a family is.
    pub fn usage(&self, family: Family) -> Usage {
        Usage {
            used: self.owners.keys().filter(|addr| Family::of(**addr) == family).count() as u64,
            total: self.blocks_of(family).map(|block| u64::from(block.capacity())).sum(),
        }
    }

    fn blocks_of(&self, family: Family) -> impl Iterator<Item = &Block> {
        self.blocks.iter().filter(move |block| Family::of_net(&block.net()) == family)
    }

    /// A block for `net` in which the addresses in use already are taken (a CIDR that went away and came back).
    fn fresh_block(&self, net: IpNet) -> Block {
        let mut block = Block::new(net);
        self.owners.keys().for_each(|addr| block.take(*addr));
        block
    }

    fn take_fresh(&mut self, family: Family) -> Option<IpAddr> {
        self.blocks
            .iter_mut()
            .filter(|block| Family::of_net(&block.net()) == family)
            .find_map(Block::take_fresh)
    }

    fn take_released(&mut self, family: Family) -> Option<IpAddr> {
        let at = self.released.iter().position(|addr| Family::of(*addr) == family)?;
        self.released.remove(at)
    }

    fn nothing_left(&self, family: Family, owner: &str) -> PodError {
        let owner = owner.to_owned();
        if self.blocks_of(family).next().is_none() {
            return PodError::NoCidr { family, owner };
        }
        let cidrs = join(self.blocks_of(family).map(Block::net));
        PodError::Exhausted { family, owner, cidrs, total: self.usage(family).total }
    }
}

impl PodLease {
    /// The addresses of the lease, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        [self.v4.map(IpAddr::V4), self.v6.map(IpAddr::V6)].into_iter().flatten()
    }
}

fn join(nets: impl Iterator<Item = IpNet>) -> String {
    nets.map(|net| net.to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
