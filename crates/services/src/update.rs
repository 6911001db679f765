//! What comes out.

use std::collections::BTreeMap;

use abi::{Addr, Backend, Frontend, FrontendKey, MemberKey, SourceRangeKey};

use crate::maglev::Table;

/// Rows to write (`Some`) or to delete (`None`); each key once.
pub type Delta<K, V> = Vec<(K, Option<V>)>;

/// What is to change in the kernel.
///
/// Order of writing:
/// 1. `backends`, `maglev`; rows to write of `members` and `source_ranges`;
/// 2. `frontends`;
/// 3. rows to delete of `members` and `source_ranges`.
///
/// Thus a frontend never leads to a slot that is not written, nor to a table that is not there; a backend is a member
/// while it may be chosen; and a source range counts before it is asked for. When all is written, say so with
/// [`crate::Balancer::realized`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Update {
    /// Grows with every [`crate::Balancer::settle`].
    pub revision: u64,
    /// [`abi::maps::BACKENDS`]: never deleted, only overwritten.
    pub backends: Vec<(u32, Backend)>,
    /// [`abi::maps::MAGLEV`]: tables to compute and write; `None`: no frontend has named it for a while, free its memory.
    pub maglev: Delta<u32, Table>,
    /// [`abi::maps::MEMBERS`].
    pub members: Delta<MemberKey, u32>,
    /// [`abi::maps::SOURCE_RANGES`].
    pub source_ranges: Delta<SourceRangeKey, u32>,
    /// [`abi::maps::FRONTENDS`].
    pub frontends: Delta<FrontendKey, Frontend>,
}

/// All rows that should be in the kernel: to compare with what is there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tables {
    /// [`abi::maps::BACKENDS`], slots in use.
    pub backends: BTreeMap<u32, Backend>,
    /// [`abi::maps::MAGLEV`], slots in use.
    pub maglev: BTreeMap<u32, Table>,
    /// [`abi::maps::MEMBERS`].
    pub members: BTreeMap<MemberKey, u32>,
    /// [`abi::maps::SOURCE_RANGES`].
    pub source_ranges: BTreeMap<SourceRangeKey, u32>,
    /// [`abi::maps::FRONTENDS`].
    pub frontends: BTreeMap<FrontendKey, Frontend>,
}

impl Update {
    /// Whether nothing is to be written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many rows are to be written or deleted.
    pub fn len(&self) -> usize {
        let Self { revision: _, backends, maglev, members, source_ranges, frontends } = self;
        backends.len() + maglev.len() + members.len() + source_ranges.len() + frontends.len()
    }
}

/// The key of a member.
pub(crate) fn member_key(service: u32, protocol: u8, backend: &Backend) -> MemberKey {
    MemberKey { addr: backend.addr, service, port: backend.port, protocol, _pad: 0 }
}

/// The key of a source range: `len` bits of `addr` in the 128-bit space.
pub(crate) fn range_key(service: u32, (len, addr): (u32, Addr)) -> SourceRangeKey {
    SourceRangeKey { len: 32 + len, service, addr }
}
