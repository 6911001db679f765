//! Taking over what an earlier agent left in the kernel, so that a restart writes nothing that is already there.

use std::collections::BTreeMap;
use std::sync::Arc;

use abi::{Backend, Frontend, FrontendKey, MemberKey, Range, SourceRangeKey};

use crate::rows::{Row, Rows};
use crate::sets::Sets;

/// What was found in the kernel.
pub struct Found<'a> {
    /// [`abi::maps::FRONTENDS`].
    pub frontends: Vec<(FrontendKey, Frontend)>,
    /// [`abi::maps::MEMBERS`].
    pub members: Vec<(MemberKey, u32)>,
    /// [`abi::maps::SOURCE_RANGES`].
    pub source_ranges: Vec<(SourceRangeKey, u32)>,
    /// Reads a slot of [`abi::maps::BACKENDS`].
    pub backend: &'a dyn Fn(u32) -> Option<Backend>,
    /// Reads a slot of [`abi::maps::MAGLEV`].
    pub maglev: &'a dyn Fn(u32) -> Option<Vec<u16>>,
}

/// Rows found that are not wanted until somebody wants them; those left after the first settle are removed.
#[derive(Debug, Default)]
pub(crate) struct Strays {
    pub(crate) frontends: Vec<FrontendKey>,
    pub(crate) members: BTreeMap<MemberKey, u32>,
    pub(crate) source_ranges: BTreeMap<SourceRangeKey, u32>,
}

/// Takes the slots that found frontends name, and the frontends with them.
pub(crate) fn adopt(found: &Found, rows: &mut Rows, sets: &mut Sets) -> Strays {
    let mut frontends = Vec::with_capacity(found.frontends.len());
    for (key, frontend) in &found.frontends {
        if !rows.adopt_dead_end(*key, *frontend) {
            frontends.push((*key, *frontend));
        }
    }
    let named = || frontends.iter().flat_map(|(_, frontend)| [frontend.external, frontend.internal]);
    let mut ranges: Vec<Range> = named().filter(is_range).collect();
    ranges.sort_unstable();
    ranges.dedup();
    // First slot of a range → first slot of what was taken for it.
    let mut starts: BTreeMap<u32, u32> = BTreeMap::new();
    for group in overlapping(&ranges) {
        let (start, length) = hull(group);
        let content: Option<Arc<[Backend]>> = (start..start + length).map(found.backend).collect();
        if sets.adopt(start, length, content) {
            starts.extend(group.iter().map(|range| (range.start, start)));
        }
        for slot in group.iter().filter_map(table) {
            sets.adopt_table(slot, Some(start), (found.maglev)(slot).as_deref());
        }
    }
    named().filter_map(|range| table(&range)).for_each(|slot| sets.adopt_table(slot, None, None));
    let mut strays = Strays {
        frontends: Vec::with_capacity(frontends.len()),
        members: found.members.iter().copied().collect(),
        source_ranges: found.source_ranges.iter().copied().collect(),
    };
    for (key, frontend) in frontends {
        let mut lease = |range: Range| {
            let start = starts.get(&range.start).filter(|_| is_range(&range))?;
            sets.adopted(*start, table(&range))
        };
        let (external, internal) = (lease(frontend.external), lease(frontend.internal));
        rows.adopt(key, Row { frontend, external, internal });
        strays.frontends.push(key);
    }
    strays
}

/// Whether it names slots, and such as can be.
fn is_range(range: &Range) -> bool {
    range.count > 0 && range.start.checked_add(range.count).is_some()
}

/// The slot of its Maglev table.
fn table(range: &Range) -> Option<u32> {
    range.maglev.checked_sub(1)
}

/// Groups of ranges that share slots. Ours are equal or apart; only damaged tables have others.
fn overlapping(ranges: &[Range]) -> impl Iterator<Item = &[Range]> {
    let mut end = 0;
    ranges.chunk_by(move |one, next| {
        end = end.max(one.start.saturating_add(one.count));
        next.start < end
    })
}

/// First slot and number of slots of a group.
fn hull(group: &[Range]) -> (u32, u32) {
    let start = group.first().map_or(0, |range| range.start);
    let end = group.iter().map(|range| range.start.saturating_add(range.count)).max().unwrap_or(start);
    (start, end - start)
}
