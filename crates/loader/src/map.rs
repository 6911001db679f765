//! Maps as the kernel sees them: bytes of fixed sizes behind a file descriptor.

use std::{
    fmt, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use aya_obj::generated::bpf_map_type;

use crate::sys;

/// Why something could not be done with a map.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// The pinned map is not there, or cannot be opened.
    #[error(
        "map {} cannot be opened: check that bpffs is mounted there and that the agent has run on this node",
        path.display()
    )]
    Open {
        /// Where it was looked for.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A new map was refused.
    #[error("map {name} cannot be created as {spec}")]
    Create {
        /// Its name.
        name: String,
        /// What was asked for.
        spec: MapSpec,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An operation on an open map failed.
    #[error("map {map}: {operation} failed")]
    Operation {
        /// Name of the map.
        map: String,
        /// What was tried.
        operation: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The map's keys or values have another size than this version reads and writes.
    #[error(
        "map {map} has keys of {key_size} and values of {value_size} bytes where this version has {key} and {value}: \
         it was made by another version, let this version's agent start once"
    )]
    Layout {
        /// Name of the map.
        map: String,
        /// Bytes of a key in the kernel.
        key_size: u32,
        /// Bytes of a value in the kernel.
        value_size: u32,
        /// Bytes of a key here.
        key: usize,
        /// Bytes of a value here.
        value: usize,
    },
    /// Every slot of the map of policy tables is taken.
    #[error("all {slots} policy slots are in use: raise the size of AX_POLICIES")]
    NoSlot {
        /// Size of the outer map.
        slots: u32,
    },
    /// A policy slot was named that holds no table.
    #[error("policy slot {slot} holds no table")]
    NoTable {
        /// The slot.
        slot: u32,
    },
}

impl MapError {
    /// Whether the map has no room left (`E2BIG` of hashes, `ENOSPC` of tries).
    pub fn is_full(&self) -> bool {
        match self {
            MapError::Operation { source, .. } => {
                matches!(source.raw_os_error(), Some(libc::E2BIG | libc::ENOSPC))
            }
            _ => false,
        }
    }
}

/// Type, sizes and flags of a map: what must be equal for a pinned map to be adopted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapSpec {
    /// `enum bpf_map_type`.
    pub kind: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value (of one CPU).
    pub value_size: u32,
    /// Entries; bytes of a ring buffer.
    pub max_entries: u32,
    /// `BPF_F_NO_PREALLOC` and others.
    pub flags: u32,
}

impl MapSpec {
    /// A map of this type, as `enum bpf_map_type` counts.
    pub fn new(kind: bpf_map_type, key_size: usize, value_size: usize, max_entries: u32) -> Self {
        MapSpec {
            kind: kind as u32,
            key_size: key_size as u32,
            value_size: value_size as u32,
            max_entries,
            flags: 0,
        }
    }

    /// The same with `flags`.
    #[must_use]
    pub fn flags(self, flags: u32) -> Self {
        MapSpec { flags, ..self }
    }

    /// Whether entries of one map mean the same in the other, whatever their number.
    pub fn same_layout(&self, other: &MapSpec) -> bool {
        (self.kind, self.key_size, self.value_size) == (other.kind, other.key_size, other.value_size)
    }

    /// Whether each CPU has a value of its own.
    pub(crate) fn is_per_cpu(&self) -> bool {
        [
            bpf_map_type::BPF_MAP_TYPE_PERCPU_ARRAY,
            bpf_map_type::BPF_MAP_TYPE_PERCPU_HASH,
            bpf_map_type::BPF_MAP_TYPE_LRU_PERCPU_HASH,
        ]
        .iter()
        .any(|kind| *kind as u32 == self.kind)
    }
}

impl fmt::Display for MapSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MapSpec { kind, key_size, value_size, max_entries, flags } = self;
        write!(f, "type {kind}, key {key_size}, value {value_size}, entries {max_entries}, flags {flags:#x}")
    }
}

/// An open map.
#[derive(Debug)]
pub struct Map {
    fd: OwnedFd,
    spec: MapSpec,
    id: u32,
    name: String,
}

impl Map {
    /// Opens a pinned map; its name is that of the file.
    ///
    /// # Errors
    /// When there is no pinned map at `path`.
    pub fn open(path: &Path) -> Result<Self, MapError> {
        let open = |source| MapError::Open { path: path.to_owned(), source };
        let fd = sys::open_pin(path).map_err(open)?;
        let mut map = Self::from_fd(fd).map_err(open)?;
        if let Some(name) = path.file_name() {
            map.name = name.to_string_lossy().into_owned();
        }
        Ok(map)
    }

    /// Creates a map that nothing but the handle keeps alive. `name` is cut to the 15 bytes the kernel keeps.
    ///
    /// # Errors
    /// When the kernel refuses, for example for want of memory or privilege.
    pub fn create(name: &str, spec: MapSpec) -> Result<Self, MapError> {
        Self::create_with_inner(name, spec, None)
    }

    /// Creates a map of maps whose inner maps are like `inner`.
    ///
    /// # Errors
    /// As [`Map::create`].
    pub fn create_of_maps(name: &str, spec: MapSpec, inner: &Map) -> Result<Self, MapError> {
        Self::create_with_inner(name, spec, Some(inner.as_fd()))
    }

    fn create_with_inner(name: &str, spec: MapSpec, inner: Option<BorrowedFd<'_>>) -> Result<Self, MapError> {
        let mut attr = sys::CreateAttr {
            kind: spec.kind,
            key_size: spec.key_size,
            value_size: spec.value_size,
            max_entries: spec.max_entries,
            flags: spec.flags,
            ..Default::default()
        };
        for (to, from) in attr.name[..15].iter_mut().zip(name.bytes()) {
            *to = from;
        }
        sys::map_create(attr, inner)
            .and_then(Self::from_fd)
            .map(|map| Map { name: name.to_owned(), ..map })
            .map_err(|source| MapError::Create { name: name.to_owned(), spec, source })
    }

    /// Opens a map by the number the kernel gave it.
    pub(crate) fn by_id(id: u32) -> io::Result<Self> {
        sys::map_by_id(id).and_then(Self::from_fd)
    }

    fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let info: sys::MapInfoRaw = sys::info(fd.as_fd())?;
        let spec = MapSpec {
            kind: info.kind,
            key_size: info.key_size,
            value_size: info.value_size,
            max_entries: info.max_entries,
            flags: info.flags,
        };
        Ok(Map { fd, spec, id: info.id, name: sys::text(&info.name) })
    }

    /// Pins the map; the directory must be there.
    ///
    /// # Errors
    /// When something is at `path` already, or it is not on a bpffs.
    pub fn pin(&self, path: &Path) -> Result<(), MapError> {
        sys::pin(self.as_fd(), path).map_err(self.failed("pinning"))
    }

    /// A second handle to the same map.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn try_clone(&self) -> Result<Self, MapError> {
        let fd = self.fd.try_clone().map_err(self.failed("duplicating the handle"))?;
        Ok(Map { fd, spec: self.spec, id: self.id, name: self.name.clone() })
    }

    /// Its type, sizes and flags.
    pub fn spec(&self) -> MapSpec {
        self.spec
    }

    /// The number the kernel gave it.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Turns an IO error into one that names this map and `operation`.
    pub(crate) fn failed(&self, operation: &'static str) -> impl Fn(io::Error) -> MapError {
        move |source| MapError::Operation { map: self.name.clone(), operation, source }
    }

    /// Checks that keys and values have these sizes.
    pub(crate) fn expect(self, key: usize, value: usize) -> Result<Self, MapError> {
        let MapSpec { key_size, value_size, .. } = self.spec;
        if (key_size as usize, value_size as usize) == (key, value) {
            Ok(self)
        } else {
            Err(MapError::Layout { map: self.name, key_size, value_size, key, value })
        }
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
