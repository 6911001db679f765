//! One pod CIDR of a node as a bitmap.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::Family;
use crate::family::number;

/// At most so many addresses of one CIDR are handed out. An IPv6 CIDR is far larger than any node needs; 65,536 keeps
/// its bitmap at 8 KiB. Addresses beyond can still be claimed (they are then known by owner alone).
pub(crate) const WINDOW: u32 = 1 << 16;

/// The bitmap of one CIDR: bit `n` says that the `n`th address was handed out, claimed or reserved at some time, so that
/// it is not fresh. Whether it is free again is not this type's business.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    net: IpNet,
    base: u128,
    used_once: Vec<u64>,
    /// Addresses inside the window.
    size: u32,
    /// Where the search for fresh addresses goes on, as an offset.
    cursor: u32,
    /// How many offsets, starting at `cursor` and wrapping around, the search has not looked at yet.
    unseen: u32,
    /// Offsets that are never handed out: network and broadcast address.
    reserved: [Option<u32>; 2],
}

impl Block {
    pub(crate) fn new(net: IpNet) -> Self {
        let net = net.trunc();
        let host_bits = u32::from(Family::of_net(&net).bits() - net.prefix_len());
        let size = if host_bits >= 16 { WINDOW } else { 1 << host_bits };
        // A /31 or /32 (RFC 3021; likewise IPv6) has no addresses to spare.
        let reserved = match host_bits {
            0 | 1 => [None, None],
            2..=16 => [Some(0), Some(size - 1)],
            _ => [Some(0), None],
        };
        let mut block = Self {
            net,
            base: number(net.network()),
            used_once: vec![0; size.div_ceil(64) as usize],
            size,
            cursor: 0,
            unseen: size,
            reserved,
        };
        for offset in reserved.into_iter().flatten() {
            block.set(offset);
        }
        block
    }

    pub(crate) fn net(&self) -> IpNet {
        self.net
    }

    /// How many addresses this block can hand out in all.
    pub(crate) fn capacity(&self) -> u32 {
        self.size - self.reserved.iter().flatten().count() as u32
    }

    /// Whether `addr` is the network or broadcast address of this block.
    pub(crate) fn is_reserved(&self, addr: IpAddr) -> bool {
        self.offset(addr).is_some_and(|offset| self.reserved.contains(&Some(offset)))
    }

    /// Whether `addr` is one that this block hands out, now or later.
    pub(crate) fn hands_out(&self, addr: IpAddr) -> bool {
        self.offset(addr).is_some_and(|offset| !self.reserved.contains(&Some(offset)))
    }

    /// Takes the next address that was never used since this block exists, if there is one.
    pub(crate) fn take_fresh(&mut self) -> Option<IpAddr> {
        while self.unseen > 0 {
            let offset = self.cursor;
            self.cursor = (self.cursor + 1) % self.size;
            self.unseen -= 1;
            if !self.get(offset) {
                self.set(offset);
                return Some(Family::of_net(&self.net).addr(self.base + u128::from(offset)));
            }
        }
        None
    }

    /// Marks an address as used. Restored addresses move the start of the search behind them while nothing has been
    /// handed out yet: what lies below was probably used before the restart, and such addresses come last.
    pub(crate) fn take(&mut self, addr: IpAddr) {
        let Some(offset) = self.offset(addr) else { return };
        self.set(offset);
        if self.unseen == self.size && offset >= self.cursor {
            self.cursor = (offset + 1) % self.size;
        }
    }

    fn offset(&self, addr: IpAddr) -> Option<u32> {
        if !self.net.contains(&addr) {
            return None;
        }
        u32::try_from(number(addr) - self.base).ok().filter(|offset| *offset < self.size)
    }

    fn get(&self, offset: u32) -> bool {
        self.used_once[(offset / 64) as usize] & (1 << (offset % 64)) != 0
    }

    fn set(&mut self, offset: u32) {
        self.used_once[(offset / 64) as usize] |= 1 << (offset % 64);
    }
}
