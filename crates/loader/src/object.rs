//! The kernel object: parse, pick up what is pinned, load each program once.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use abi::NodeConfig;
use aya::{EbpfLoader, programs::ProgramError};
use zerocopy::IntoBytes as _;

use crate::{
    map::{MapError, MapSpec},
    maps::Maps,
    pins::Pins,
};

/// Why the object could not be loaded. Nothing that was pinned or attached before has changed then.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The bytes are no BPF object.
    #[error("the kernel object cannot be parsed: build it with `cargo xtask bpf`")]
    Parse {
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A map size was given for a map that the object does not have.
    #[error("a size is given for map {map}, which the kernel object does not have")]
    UnknownMap {
        /// The name given.
        map: String,
    },
    /// A directory or pin below bpffs could not be made or changed.
    #[error("{} cannot be {operation}: check that bpffs is mounted and this process may write there", path.display())]
    Pin {
        /// Which.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A map could not be opened, created or read.
    #[error("a map of the kernel object is not usable")]
    Map {
        /// Why.
        #[from]
        source: MapError,
    },
    /// Maps could not be created, or the object's data not relocated.
    #[error(
        "the maps of the kernel object cannot be set up: check memory and privileges (CAP_BPF, CAP_NET_ADMIN)"
    )]
    Maps {
        /// Why.
        #[source]
        source: Box<aya::EbpfError>,
    },
    /// The verifier, or the kernel before it, refused a program.
    #[error("the kernel refused program {program}; the end of its log:\n{log}")]
    Refused {
        /// The program.
        program: String,
        /// The last lines of the verifier's log.
        log: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program could not be loaded for another reason.
    #[error("program {program} cannot be loaded")]
    Program {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: Box<ProgramError>,
    },
}

/// How to load.
#[derive(Debug)]
pub struct LoadOptions<'a> {
    /// Root of the bpffs to pin under, usually `/sys/fs/bpf`.
    pub bpffs: &'a Path,
    /// Facts of the node, frozen into the programs.
    pub config: &'a NodeConfig,
    /// Entries of maps that shall differ from the object's own, by map name.
    pub sizes: BTreeMap<String, u32>,
}

/// What a load did with one pinned map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Adoption {
    /// The pinned map fits and is used on, with its content.
    Adopted,
    /// There was none.
    Created,
    /// The pinned map did not fit and a new one took its place. The old one lives on as long as old programs use it.
    Replaced {
        /// Type and sizes it had, or the ABI version it was made for.
        old: String,
        /// Entries copied from the old one.
        copied: usize,
    },
}

/// What a program cost, as the kernel counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProgramStats {
    /// Instructions walked by the verifier; 0 on kernels before 5.16.
    pub verified: u32,
    /// Bytes of the program after translation.
    pub translated: u32,
    /// Bytes of machine code.
    pub jited: u32,
    /// Wall time of the load, verifier and compiler together; all programs load side by side.
    pub load: Duration,
}

/// A loaded program.
#[derive(Debug)]
pub struct Program {
    fd: OwnedFd,
    name: String,
    id: u32,
    stats: ProgramStats,
}

impl Program {
    /// Its name in the object.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number the kernel gave it, new with every load.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// What it cost.
    pub fn stats(&self) -> ProgramStats {
        self.stats
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The loaded object.
#[derive(Debug)]
pub struct Object {
    /// Its maps, pinned.
    pub maps: Maps,
    programs: Vec<Program>,
    adoption: BTreeMap<String, Adoption>,
    config: NodeConfig,
}

impl Object {
    /// Loads `object`: adopts pinned maps that fit (type, sizes, flags, ABI version), makes the others anew, loads every
    /// program once. New maps take the place of old pins only after every program was accepted.
    ///
    /// Nothing is attached: where a map was replaced ([`Object::adoption`]), fill it before swapping links.
    ///
    /// # Errors
    /// When the object or the node does not allow it; nothing that was there before has changed then.
    pub fn load(object: &[u8], options: &LoadOptions<'_>) -> Result<Self, LoadError> {
        let wanted = wanted_maps(object, &options.sizes)?;
        let pins = Pins::prepare(options.bpffs, &wanted)?;
        let programs = load_programs(object, options, &pins).inspect_err(|_| pins.abandon())?;
        let adoption = pins.commit()?;
        for (map, what) in &adoption {
            if let Adoption::Replaced { old, copied } = what {
                tracing::warn!(map, old, copied, "pinned map does not fit this version and was replaced");
            }
        }
        let maps = Maps::open(options.bpffs)?;
        Ok(Object { maps, programs, adoption, config: *options.config })
    }

    /// The program of this name.
    pub fn program(&self, name: &str) -> Option<&Program> {
        self.programs.iter().find(|program| program.name == name)
    }

    /// All programs, by name.
    pub fn programs(&self) -> &[Program] {
        &self.programs
    }

    /// The facts of the node that are frozen into the programs.
    pub fn config(&self) -> &NodeConfig {
        &self.config
    }

    /// What was done with each pinned map.
    pub fn adoption(&self) -> &BTreeMap<String, Adoption> {
        &self.adoption
    }
}

/// The maps that get pinned, as the object and the overridden sizes define them.
fn wanted_maps(object: &[u8], sizes: &BTreeMap<String, u32>) -> Result<BTreeMap<String, MapSpec>, LoadError> {
    let parsed =
        aya_obj::Object::parse(object).map_err(|error| LoadError::Parse { source: Box::new(error) })?;
    let mut wanted = BTreeMap::new();
    for (name, map) in &parsed.maps {
        // .rodata and its like belong to one load and are kept by the programs.
        if name.starts_with('.') {
            continue;
        }
        let spec = MapSpec {
            kind: map.map_type(),
            key_size: map.key_size(),
            value_size: map.value_size(),
            max_entries: entries(map.map_type(), sizes.get(name).copied().unwrap_or(map.max_entries())),
            flags: map.map_flags(),
        };
        wanted.insert(name.clone(), spec);
    }
    match sizes.keys().find(|name| !wanted.contains_key(*name)) {
        Some(map) => Err(LoadError::UnknownMap { map: map.clone() }),
        None => Ok(wanted),
    }
}

/// The number of entries that aya will ask the kernel for: a ring's bytes are a power of two of at least a page.
fn entries(kind: u32, asked: u32) -> u32 {
    if kind != crate::MapKind::BPF_MAP_TYPE_RINGBUF as u32 {
        return asked;
    }
    asked.max(rustix::param::page_size() as u32).checked_next_power_of_two().unwrap_or(1 << 31)
}

fn load_programs(object: &[u8], options: &LoadOptions<'_>, pins: &Pins) -> Result<Vec<Program>, LoadError> {
    let mut loader = EbpfLoader::new();
    loader.override_global("CONFIG", options.config.as_bytes(), true);
    for (name, size) in &options.sizes {
        loader.map_max_entries(name, *size);
    }
    for (name, path) in pins.paths() {
        loader.map_pin_path(name, path);
    }
    let mut ebpf = loader.load(object).map_err(|error| LoadError::Maps { source: Box::new(error) })?;
    // The verifier takes a CPU for most of the time a start takes, and needs nobody else's.
    let results: Vec<_> = thread::scope(|scope| {
        let load = |(name, program)| scope.spawn(move || load_program(name, program));
        let loads: Vec<_> = ebpf.programs_mut().map(load).collect();
        loads.into_iter().map(thread::ScopedJoinHandle::join).collect()
    });
    let mut programs = Vec::new();
    for result in results {
        programs.push(result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
    }
    programs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(programs)
}

fn load_program(name: &str, program: &mut aya::programs::Program) -> Result<Program, LoadError> {
    use aya::programs::Program as Kind;
    let failed = |source| refusal(name, source);
    let start = Instant::now();
    match program {
        Kind::SchedClassifier(classifier) => classifier.load(),
        Kind::CgroupSockAddr(socket) => socket.load(),
        Kind::CgroupSock(socket) => socket.load(),
        Kind::Xdp(xdp) => xdp.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
    .map_err(failed)?;
    let load = start.elapsed();
    let fd = program.fd().map_err(failed)?.as_fd().try_clone_to_owned();
    let fd = fd.map_err(|error| failed(ProgramError::IOError(error)))?;
    let info = match program {
        Kind::SchedClassifier(classifier) => classifier.info(),
        Kind::CgroupSockAddr(socket) => socket.info(),
        Kind::CgroupSock(socket) => socket.info(),
        Kind::Xdp(xdp) => xdp.info(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
    .map_err(failed)?;
    let stats = ProgramStats {
        verified: info.verified_instruction_count().unwrap_or_default(),
        translated: info.size_translated().unwrap_or_default(),
        jited: info.size_jitted(),
        load,
    };
    Ok(Program { fd, name: name.to_owned(), id: info.id(), stats })
}

/// Lines of the verifier's log that an error carries: the reason stands at its end.
const LOG_LINES: usize = 40;

fn refusal(name: &str, error: ProgramError) -> LoadError {
    let program = name.to_owned();
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            let lines: Vec<&str> = log.lines().collect();
            let log = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
            LoadError::Refused { program, log, source: io_error }
        }
        other => LoadError::Program { program, source: Box::new(other) },
    }
}
