//! Which pinned maps a new load may use, and how new ones take the place of those it may not.
//!
//! New maps are pinned in a directory of their own first and renamed over the old pins when every program was accepted, so
//! that a refused load leaves everything as it was.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use abi::maps::{EPOCH, FLOWS, HALF_OPEN, NAT, PODS, POLICIES};

use crate::{
    array::Scalar,
    map::{Map, MapError, MapSpec},
    maps::globals,
    object::{Adoption, LoadError},
    table::Cursor,
};

/// Pinned beside the maps: an array of one `u32`, the ABI version they were made for.
pub(crate) const ABI: &str = "AX_ABI";

/// Maps that are kept, or copied, over a change of the ABI version as long as their own layout is the same: open connections
/// hang on them, and the epoch that their entries refer to.
const KEPT: [&str; 4] = [FLOWS, HALF_OPEN, NAT, EPOCH];

/// The fate of each map, decided before anything is changed.
#[derive(Debug)]
pub(crate) struct Pins {
    globals: PathBuf,
    fresh: PathBuf,
    verdicts: BTreeMap<String, Verdict>,
}

/// What becomes of one map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Adopt,
    Create,
    Replace { old: String, copy: bool },
}

impl Pins {
    /// Compares what is pinned with what is wanted.
    pub(crate) fn prepare(bpffs: &Path, wanted: &BTreeMap<String, MapSpec>) -> Result<Self, LoadError> {
        let (globals, fresh) = (globals(bpffs), bpffs.join("cilium/new-maps"));
        // What a load that was killed left behind.
        clear(&fresh)?;
        for directory in [&globals, &fresh] {
            fs::create_dir_all(directory).map_err(failed(directory, "created"))?;
        }
        let version = pinned_version(&globals)?;
        let mut verdicts = BTreeMap::new();
        for (name, spec) in wanted {
            let pinned = open(&globals.join(name))?.map(|map| map.spec());
            verdicts.insert(name.clone(), verdict(name, spec, pinned.as_ref(), version));
        }
        // Slots named by pods mean nothing without the tables that were in them.
        let tables_kept = verdicts.get(POLICIES).is_none_or(|v| *v == Verdict::Adopt);
        if let Some(pods) = verdicts.get_mut(PODS).filter(|v| **v == Verdict::Adopt && !tables_kept) {
            *pods = Verdict::Replace { old: "its policy tables were replaced".to_owned(), copy: false };
        }
        Ok(Pins { globals, fresh, verdicts })
    }

    /// Where each map is pinned during the load.
    pub(crate) fn paths(&self) -> impl Iterator<Item = (&str, PathBuf)> {
        self.verdicts.iter().map(|(name, verdict)| {
            let directory = if *verdict == Verdict::Adopt { &self.globals } else { &self.fresh };
            (name.as_str(), directory.join(name))
        })
    }

    /// Puts the new maps in the place of the old ones. In name order, so that `AX_PODS` goes before `AX_POLICIES`: whoever
    /// is killed in between leaves no pods that name slots of tables that are gone.
    pub(crate) fn commit(self) -> Result<BTreeMap<String, Adoption>, LoadError> {
        let mut adoption = BTreeMap::new();
        for (name, verdict) in &self.verdicts {
            let (from, to) = (self.fresh.join(name), self.globals.join(name));
            let what = match verdict {
                Verdict::Adopt => Adoption::Adopted,
                Verdict::Create => Adoption::Created,
                Verdict::Replace { old, copy } => {
                    let copied = if *copy { copy_entries(name, &to, &from)? } else { 0 };
                    Adoption::Replaced { old: old.clone(), copied }
                }
            };
            if what != Adoption::Adopted {
                fs::rename(&from, &to).map_err(failed(&to, "replaced"))?;
            }
            adoption.insert(name.clone(), what);
        }
        record_version(&self.globals)?;
        clear(&self.fresh)?;
        Ok(adoption)
    }

    /// Removes what [`Pins::prepare`] and the load made; for the way out of an error, so it reports none of its own.
    pub(crate) fn abandon(&self) {
        if let Err(error) = clear(&self.fresh) {
            tracing::warn!(%error, "new maps of a failed load stay pinned until the next start");
        }
    }
}

fn verdict(name: &str, wanted: &MapSpec, pinned: Option<&MapSpec>, version: Option<u32>) -> Verdict {
    let Some(pinned) = pinned else { return Verdict::Create };
    let kept = KEPT.contains(&name) && wanted.same_layout(pinned);
    if version != Some(abi::ABI_VERSION) && !kept {
        let old = version.map_or("unknown ABI version".to_owned(), |v| format!("ABI version {v}"));
        Verdict::Replace { old, copy: false }
    } else if wanted == pinned {
        Verdict::Adopt
    } else {
        Verdict::Replace { old: pinned.to_string(), copy: kept }
    }
}

/// The ABI version that the pinned maps were made for; `None` if nobody recorded one.
fn pinned_version(globals: &Path) -> Result<Option<u32>, LoadError> {
    let Some(map) = open(&globals.join(ABI))? else { return Ok(None) };
    // A map of another shape under this name is not ours to trust.
    Ok(Scalar::new(map).and_then(|scalar| scalar.get()).ok())
}

fn record_version(globals: &Path) -> Result<(), LoadError> {
    let path = globals.join(ABI);
    // In place if it can be: whoever is killed here leaves the old number or the new one, never none.
    if let Some(Ok(pinned)) = open(&path)?.map(Scalar::new) {
        return Ok(pinned.set(abi::ABI_VERSION)?);
    }
    let kind = crate::MapKind::BPF_MAP_TYPE_ARRAY;
    let map = Map::create(ABI, MapSpec::new(kind, 4, 4, 1))?;
    Scalar::new(map.try_clone()?)?.set(abi::ABI_VERSION)?;
    remove(&path)?;
    Ok(map.pin(&path)?)
}

/// Copies as many entries as there is room for.
fn copy_entries(name: &str, from: &Path, to: &Path) -> Result<usize, LoadError> {
    match name {
        NAT => copy::<abi::NatKey, abi::NatValue>(from, to),
        FLOWS | HALF_OPEN => copy::<abi::FlowKey, abi::Flow>(from, to),
        _ => Ok(0),
    }
}

fn copy<K: crate::Plain, V: crate::Plain>(from: &Path, to: &Path) -> Result<usize, LoadError> {
    let (from, to) = (crate::Table::<K, V>::open(from)?, crate::Table::<K, V>::open(to)?);
    let mut cursor = Cursor::default();
    let mut copied = 0;
    while !cursor.is_done() {
        let items = from.chunk(&mut cursor)?;
        let failed = to.upsert_batch(&items);
        copied += items.len() - failed.len();
    }
    Ok(copied)
}

/// `None` if nothing is pinned there.
fn open(path: &Path) -> Result<Option<Map>, LoadError> {
    match Map::open(path) {
        Ok(map) => Ok(Some(map)),
        Err(MapError::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn failed(path: &Path, operation: &'static str) -> impl FnOnce(io::Error) -> LoadError {
    let path = path.to_owned();
    move |source| LoadError::Pin { path, operation, source }
}

fn remove(path: &Path) -> Result<(), LoadError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(path, "removed")(error)),
        _ => Ok(()),
    }
}

fn clear(directory: &Path) -> Result<(), LoadError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(directory, "cleared")(error)),
        _ => Ok(()),
    }
}
