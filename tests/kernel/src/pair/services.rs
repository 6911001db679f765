//! Services of the node, equal in both worlds.

use abi::service::{
    CLUSTER_IP, DSR, EXTERNAL_DROP, INTERNAL_DROP, LOAD_BALANCER, LOCAL_REDIRECT, MAGLEV_SIZE, MEMBER_ACTIVE,
    MEMBER_SPARED, NODE_PORT, SOURCE_RANGES, SOURCE_RANGES_DENY, SPARES, WILDCARD_V4, WILDCARD_V6,
};
use abi::{Backend, Frontend, FrontendKey, MemberKey, Range, SourceRangeKey};
use anyhow::Result;
use loader::MaglevTables;

use super::{Pair, addr};
use crate::random::Random;

/// Where services lead: pods of this node and of another, the node itself, others.
const V4: &[&str] = &["10.244.1.10", "10.244.1.11", "10.244.2.20", "172.31.0.11", "8.8.8.8", "172.31.0.100"];
const V6: &[&str] =
    &["fd00:10:244:1::10", "fd00:10:244:1::11", "fd00:10:244:2::20", "fd00:31::11", "2001:4860::8"];
/// Addresses of services, by family.
pub(super) const VIPS: [&str; 2] = ["10.96.0.10", "fd00:96::10"];
/// A NodePort that leads somewhere.
pub(super) const NODE_PORT_NUMBER: u16 = 30_080;

impl Pair {
    /// Other services than before: two of each family, with random backends, rights and ways to choose.
    pub(super) fn services(&mut self, random: &mut Random) -> Result<()> {
        let maps = &self.object.maps;
        maps.frontends.clear()?;
        maps.members.clear()?;
        maps.source_ranges.clear()?;
        self.node.frontends.clear();
        self.node.members.clear();
        self.node.source_ranges.clear();
        self.node.affinity.clear();
        for (family, vip) in VIPS.into_iter().enumerate() {
            let pool = if family == 0 { V4 } else { V6 };
            let any = if family == 0 { WILDCARD_V4 } else { WILDCARD_V6 };
            for protocol in [6, 17] {
                let service = random.number() as u32 | 1;
                let start = family as u32 * 100 + u32::from(protocol);
                let count = random.below(4) as u32;
                for slot in start..start + count {
                    let backend = Backend { addr: addr(random.pick(pool)), port: 8080_u16.to_be(), _pad: 0 };
                    self.backend(slot, backend, service, protocol, !random.one_in(4))?;
                }
                let maglev = if random.one_in(3) && count > 0 { 1 + start } else { 0 };
                if maglev != 0 {
                    self.maglev(start, count)?;
                }
                let range = Range { start, count, maglev };
                let affinity = if random.one_in(3) { 100_000 } else { 0 };
                for (addr, port, kind) in [
                    (addr(vip), 80, random.pick(&[CLUSTER_IP, CLUSTER_IP, LOCAL_REDIRECT])),
                    (addr(vip), 443, LOAD_BALANCER),
                    (any, NODE_PORT_NUMBER, NODE_PORT),
                ] {
                    let flags = kind
                        | random.pick(&[
                            0,
                            0,
                            SOURCE_RANGES,
                            SOURCE_RANGES | SOURCE_RANGES_DENY,
                            EXTERNAL_DROP,
                            DSR,
                            DSR,
                            SPARES,
                        ]);
                    let row = Frontend { service, flags, external: range, internal: range, affinity };
                    self.frontend(FrontendKey { addr, port: u16::to_be(port), protocol, _pad: 0 }, row)?;
                }
                self.spare(addr(random.pick(pool)), service, protocol)?;
                let key = SourceRangeKey { len: 32 + 120, service, addr: addr("172.31.0.0") };
                self.object.maps.source_ranges.insert(&key, &1)?;
                self.node.source_ranges.push(key);
            }
            let nowhere =
                Frontend { service: 1, flags: EXTERNAL_DROP | INTERNAL_DROP, ..Frontend::default() };
            self.frontend(FrontendKey { addr: addr(vip), ..FrontendKey::default() }, nowhere)?;
        }
        Ok(())
    }

    fn frontend(&mut self, key: FrontendKey, row: Frontend) -> Result<()> {
        self.object.maps.frontends.insert(&key, &row)?;
        self.node.frontends.insert(key, row);
        Ok(())
    }

    fn backend(
        &mut self,
        slot: u32,
        backend: Backend,
        service: u32,
        protocol: u8,
        member: bool,
    ) -> Result<()> {
        self.object.maps.backends.insert(&slot, &backend)?;
        self.node.backends.insert(slot, backend);
        if member {
            let key = MemberKey { addr: backend.addr, service, port: backend.port, protocol, _pad: 0 };
            self.object.maps.members.insert(&key, &MEMBER_ACTIVE)?;
            self.node.members.insert(key, MEMBER_ACTIVE);
        }
        Ok(())
    }

    fn spare(&mut self, client: abi::Addr, service: u32, protocol: u8) -> Result<()> {
        let key = MemberKey { addr: client, service, port: 0, protocol, _pad: 0 };
        self.object.maps.members.insert(&key, &MEMBER_SPARED)?;
        self.node.members.insert(key, MEMBER_SPARED);
        Ok(())
    }

    fn maglev(&mut self, slot: u32, count: u32) -> Result<()> {
        let rows: Vec<u16> = (0..MAGLEV_SIZE).map(|row| (row % count) as u16).collect();
        MaglevTables::new(&self.object.maps.maglev)?.write(slot, &rows)?;
        self.node.maglev.insert(slot, rows);
        Ok(())
    }
}
