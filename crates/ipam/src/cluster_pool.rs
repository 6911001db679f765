//! The operator's half: a block for each node.

use std::collections::BTreeMap;

use ipnet::IpNet;

use crate::Family;
use crate::family::number;

/// Why a pool cannot be built, or a block cannot be given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// No CIDR was given.
    #[error(
        "the cluster pool has no CIDR; set cluster-pool-ipv4-cidr (or -ipv6-cidr), or switch that address family off"
    )]
    Empty,
    /// CIDRs of both families in one pool.
    #[error(
        "the cluster pool has CIDRs of two families ({first} and {second}); give IPv4 and IPv6 pools apart"
    )]
    MixedFamilies {
        /// One CIDR.
        first: IpNet,
        /// One of the other family.
        second: IpNet,
    },
    /// Host bits are set in a CIDR.
    #[error("the cluster pool's CIDR {cidr} has host bits set; write {network} instead")]
    HostBits {
        /// As given.
        cidr: IpNet,
        /// The same without host bits.
        network: IpNet,
    },
    /// Two CIDRs of the pool overlap.
    #[error("the cluster pool's CIDRs {first} and {second} overlap; remove one")]
    Overlap {
        /// One CIDR.
        first: IpNet,
        /// The other.
        second: IpNet,
    },
    /// Blocks would be larger than a CIDR, or smaller than a node can use.
    #[error(
        "the mask size /{mask_size} does not fit the cluster pool's CIDR {cidr}: it must be from /{min} to /{max}"
    )]
    MaskSize {
        /// The configured size.
        mask_size: u8,
        /// The CIDR it does not fit.
        cidr: IpNet,
        /// Smallest fit value.
        min: u8,
        /// Largest fit value.
        max: u8,
    },
    /// All blocks are in use.
    #[error(
        "no {family} block is left: all {total} blocks of size /{mask_size} in {cidrs} are in use; add a CIDR to \
         clusterPool{family}PodCIDRList (existing ones must stay), or remove nodes"
    )]
    Exhausted {
        /// The family.
        family: Family,
        /// The CIDRs, separated by commas.
        cidrs: String,
        /// The size of blocks.
        mask_size: u8,
        /// How many blocks there are.
        total: u128,
    },
    /// A block that somebody has already.
    #[error("block {block} overlaps {taken}, which another node holds")]
    InUse {
        /// The block asked for.
        block: IpNet,
        /// The block in the way.
        taken: IpNet,
    },
    /// A block of no CIDR of the pool.
    #[error("block {block} is in none of the cluster pool's CIDRs ({cidrs})")]
    Outside {
        /// The block asked for.
        block: IpNet,
        /// The CIDRs, separated by commas.
        cidrs: String,
    },
}

/// One CIDR of the pool, cut into blocks numbered from 0.
#[derive(Debug, Clone)]
struct Range {
    net: IpNet,
    blocks: u128,
    /// No block below this one is free.
    first_free: u128,
}

/// Cuts the cluster's CIDRs of one family into blocks and hands them out, lowest first, the next CIDR when one is full.
///
/// Nodes may hold blocks of another size (the mask size was changed): [`ClusterPool::occupy`] takes any prefix inside
/// the CIDRs, and no block that touches it is handed out.
#[derive(Debug, Clone)]
pub struct ClusterPool {
    family: Family,
    mask_size: u8,
    ranges: Vec<Range>,
    /// Disjoint prefixes in use: first address → prefix.
    taken: BTreeMap<u128, IpNet>,
}

impl ClusterPool {
    /// A pool over `cidrs` with blocks of `/mask_size`, nothing in use.
    ///
    /// # Errors
    /// Every configuration error of [`PoolError`]. A block needs room for network address, broadcast address, router
    /// and a pod, so /30 (IPv4) and /126 (IPv6) are the smallest.
    pub fn new(cidrs: &[IpNet], mask_size: u8) -> Result<Self, PoolError> {
        let first = cidrs.first().ok_or(PoolError::Empty)?;
        let family = Family::of_net(first);
        let max = family.bits() - 2;
        for (at, cidr) in cidrs.iter().enumerate() {
            if Family::of_net(cidr) != family {
                return Err(PoolError::MixedFamilies { first: *first, second: *cidr });
            }
            if cidr.trunc() != *cidr {
                return Err(PoolError::HostBits { cidr: *cidr, network: cidr.trunc() });
            }
            if !(cidr.prefix_len()..=max).contains(&mask_size) {
                return Err(PoolError::MaskSize { mask_size, cidr: *cidr, min: cidr.prefix_len(), max });
            }
            if let Some(other) =
                cidrs[..at].iter().find(|other| other.contains(cidr) || cidr.contains(*other))
            {
                return Err(PoolError::Overlap { first: *other, second: *cidr });
            }
        }
        let range =
            |net: &IpNet| Range { net: *net, blocks: 1 << (mask_size - net.prefix_len()), first_free: 0 };
        Ok(Self { family, mask_size, ranges: cidrs.iter().map(range).collect(), taken: BTreeMap::new() })
    }

    /// The family of the pool.
    #[must_use]
    pub fn family(&self) -> Family {
        self.family
    }

    /// Hands out the lowest free block.
    ///
    /// # Errors
    /// [`PoolError::Exhausted`].
    pub fn allocate(&mut self) -> Result<IpNet, PoolError> {
        for at in 0..self.ranges.len() {
            if let Some(block) = self.search(at) {
                self.taken.insert(number(block.network()), block);
                return Ok(block);
            }
        }
        Err(PoolError::Exhausted {
            family: self.family,
            cidrs: self.cidrs(),
            mask_size: self.mask_size,
            total: self.ranges.iter().map(|range| range.blocks).sum(),
        })
    }

    /// Marks a block as in use that a node holds already.
    ///
    /// # Errors
    /// [`PoolError::Outside`], [`PoolError::InUse`]; nothing is marked then.
    pub fn occupy(&mut self, block: IpNet) -> Result<(), PoolError> {
        let block = block.trunc();
        if !self.ranges.iter().any(|range| range.net.contains(&block)) {
            return Err(PoolError::Outside { block, cidrs: self.cidrs() });
        }
        if let Some(taken) = self.overlapping(&block) {
            return Err(PoolError::InUse { block, taken });
        }
        self.taken.insert(number(block.network()), block);
        Ok(())
    }

    /// Gives a block back. False if it was not in use.
    pub fn release(&mut self, block: IpNet) -> bool {
        let block = block.trunc();
        let start = number(block.network());
        if self.taken.get(&start) != Some(&block) {
            return false;
        }
        self.taken.remove(&start);
        let shift = self.family.bits() - self.mask_size;
        if let Some(range) = self.ranges.iter_mut().find(|range| range.net.contains(&block)) {
            let index = (start - number(range.net.network())) >> shift;
            range.first_free = range.first_free.min(index);
        }
        true
    }

    /// The blocks in use, in order of address.
    pub fn in_use(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.taken.values().copied()
    }

    /// The number of blocks that the pool has in all.
    #[must_use]
    pub fn total(&self) -> u128 {
        self.ranges.iter().map(|range| range.blocks).sum()
    }

    fn search(&mut self, at: usize) -> Option<IpNet> {
        let shift = self.family.bits() - self.mask_size;
        let range = &self.ranges[at];
        let base = number(range.net.network());
        let mut index = range.first_free;
        let mut found = None;
        while index < range.blocks {
            let candidate = IpNet::new(self.family.addr(base + (index << shift)), self.mask_size).ok()?;
            match self.overlapping(&candidate) {
                None => {
                    found = Some(candidate);
                    break;
                }
                // One prefix may cover many blocks: go on behind it.
                Some(taken) => index = ((number(taken.broadcast()) - base) >> shift) + 1,
            }
        }
        self.ranges[at].first_free = if found.is_some() { index + 1 } else { index };
        found
    }

    /// The prefix in use that shares addresses with `block`. As those in use are disjoint and prefixes nest, looking at
    /// the last one that starts before the block's end is enough.
    fn overlapping(&self, block: &IpNet) -> Option<IpNet> {
        let (_, last) = self.taken.range(..=number(block.broadcast())).next_back()?;
        (number(last.broadcast()) >= number(block.network())).then_some(*last)
    }

    fn cidrs(&self) -> String {
        self.ranges.iter().map(|range| range.net.to_string()).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests;
