//! TCX and XDP links: which program runs on which interface, pinned so that they outlive the agent.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use aya_obj::generated::bpf_attach_type;
use reconcile::{Failed, Target};

use crate::{object::Program, sys};

/// Why a link could not be made, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The kernel refused to attach.
    #[error(
        "program {program} cannot be attached to {hook} of interface {ifindex}: check that the interface exists \
         in this network namespace and that the kernel has TCX (6.6 or newer)"
    )]
    Attach {
        /// The program.
        program: String,
        /// The interface.
        ifindex: u32,
        /// The side.
        hook: Hook,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A link that is pinned could not be used.
    #[error("pinned link {}: {operation} failed", path.display())]
    Pinned {
        /// Where it is pinned.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The object has no such program.
    #[error("there is no program {program} in the object")]
    NoProgram {
        /// The name asked for.
        program: String,
    },
    /// The programs on a hook could not be listed.
    #[error("the programs on {hook} of interface {ifindex} cannot be listed")]
    Query {
        /// The interface.
        ifindex: u32,
        /// The side.
        hook: Hook,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The side of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// Packets that come out of the interface into this node.
    Ingress,
    /// Packets that this node sends through the interface.
    Egress,
    /// Packets that come out of the interface, in its driver, before the stack has made buffers of them.
    XdpNative,
    /// The same behind the driver, where it cannot do so itself.
    XdpGeneric,
}

impl Hook {
    fn number(self) -> u32 {
        match self {
            Hook::Ingress => bpf_attach_type::BPF_TCX_INGRESS as u32,
            Hook::Egress => bpf_attach_type::BPF_TCX_EGRESS as u32,
            Hook::XdpNative | Hook::XdpGeneric => bpf_attach_type::BPF_XDP as u32,
        }
    }

    /// Flags with which a link is made (`include/uapi/linux/if_link.h` for XDP).
    fn flags(self) -> u32 {
        const GENERIC: u32 = 1 << 1;
        const NATIVE: u32 = 1 << 2;
        match self {
            Hook::Ingress | Hook::Egress => sys::AFTER,
            Hook::XdpNative => NATIVE,
            Hook::XdpGeneric => GENERIC,
        }
    }

    /// What the kernel tells of a link does not tell the two ways of XDP apart.
    fn as_told(self) -> Self {
        if self == Hook::XdpGeneric { Hook::XdpNative } else { self }
    }

    fn from_number(number: u32) -> Option<Self> {
        [Hook::Ingress, Hook::Egress].into_iter().find(|hook| hook.number() == number)
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Hook::Ingress => "ingress",
            Hook::Egress => "egress",
            Hook::XdpNative => "XDP (native)",
            Hook::XdpGeneric => "XDP (generic)",
        })
    }
}

/// Whose link it is: the directory it is pinned in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// An endpoint, by its number or interface index: `<bpffs>/cilium/endpoints/<name>/links`.
    Endpoint(String),
    /// A device of the node, by its name: `<bpffs>/cilium/devices/<name>/links`.
    Device(String),
}

/// Names a link: one program for one owner.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkKey {
    /// Whose link it is.
    pub owner: Owner,
    /// Name of the program in the object.
    pub program: String,
}

/// Where a link is, and what it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkPlace {
    /// The interface; 0 if it is gone (only seen in what exists).
    pub ifindex: u32,
    /// The side.
    pub hook: Hook,
    /// The kernel's number of the program ([`Program::id`]): a new version of the agent has others, so its links differ from
    /// what is pinned and get swapped.
    pub program_id: u32,
}

/// A program on a hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// The kernel's number.
    pub id: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
}

/// A program of somebody else on a hook that we use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// The program.
    pub program: Attached,
    /// Whether it runs before ours, so that it can keep packets from us by anything but "next".
    pub before: bool,
}

/// What [`Links::ensure`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The link was there already.
    Nothing,
    /// The pinned link got the new program, atomically.
    Swapped,
    /// The link was there, but somebody had removed its pin.
    Repinned,
    /// A new link was made and pinned.
    Created,
}

/// The links pinned below one bpffs. Works in the network namespace of the calling thread.
///
/// What [`Links::ensure`] put in place is held open as well, so that a program stays on its device while this lives, even if
/// somebody removes its pin.
#[derive(Debug, Clone)]
pub struct Links {
    root: PathBuf,
    held: Arc<Mutex<BTreeMap<PathBuf, OwnedFd>>>,
}

impl Links {
    /// Links below `<bpffs>/cilium`.
    pub fn new(bpffs: &Path) -> Self {
        Links { root: bpffs.join("cilium"), held: Arc::default() }
    }

    /// Makes `program` run at `place`: swaps the program of the pinned link where it is alive at the right place, else
    /// makes a new link (at the tail of the hook, beside programs of others) and pins it.
    ///
    /// # Errors
    /// When the interface is gone, or the kernel refuses. What ran before still runs then.
    pub fn ensure(&self, key: &LinkKey, place: &LinkPlace, program: &Program) -> Result<Change, LinkError> {
        let path = self.path(key);
        let wanted = *place;
        let place = &LinkPlace { hook: place.hook.as_told(), ..wanted };
        let pinned = open(&path)?;
        let was_pinned = pinned.is_some();
        if let Some(link) = pinned.or(self.held(|held| held.remove(&path))) {
            let now = place_of(&link).map_err(failed(&path, "reading its state"))?;
            if now == Some(*place) && was_pinned {
                self.hold(path, link);
                return Ok(Change::Nothing);
            }
            if now == Some(*place) {
                pin(&link, &path)?;
                self.hold(path, link);
                return Ok(Change::Repinned);
            }
            let same_hook = now.is_some_and(|now| (now.ifindex, now.hook) == (place.ifindex, place.hook));
            if same_hook {
                match sys::link_update(link.as_fd(), program.as_fd()) {
                    Ok(()) => {
                        if !was_pinned {
                            pin(&link, &path)?;
                        }
                        self.hold(path, link);
                        return Ok(Change::Swapped);
                    }
                    // The interface went away between the two calls.
                    Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => {}
                    Err(error) => return Err(failed(&path, "swapping its program")(error)),
                }
            }
        }
        self.create(&path, &wanted, program)?;
        Ok(Change::Created)
    }

    fn create(&self, path: &Path, place: &LinkPlace, program: &Program) -> Result<(), LinkError> {
        let LinkPlace { ifindex, hook, .. } = *place;
        let link =
            sys::link_create(program.as_fd(), ifindex, hook.number(), hook.flags()).map_err(|source| {
                LinkError::Attach { program: program.name().to_owned(), ifindex, hook, source }
            })?;
        // The new link is in place; only now may an old one at the same path go.
        detach(path)?;
        pin(&link, path)?;
        self.hold(path.to_owned(), link);
        Ok(())
    }

    fn hold(&self, path: PathBuf, link: OwnedFd) {
        self.held(|held| held.insert(path, link));
    }

    fn held<T>(&self, act: impl FnOnce(&mut BTreeMap<PathBuf, OwnedFd>) -> T) -> T {
        // No holder can leave the map half changed.
        act(&mut self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Detaches and unpins a link; fine if there is none.
    ///
    /// # Errors
    /// When the pin cannot be removed.
    pub fn remove(&self, key: &LinkKey) -> Result<(), LinkError> {
        let path = self.path(key);
        detach(&path)?;
        // The last descriptor of a link without a pin takes it off its device.
        self.held(|held| held.remove(&path));
        // Directories that still hold other links stay, so errors mean nothing here.
        for directory in path.ancestors().skip(1).take(2) {
            let _ = fs::remove_dir(directory);
        }
        Ok(())
    }

    /// Every pinned link. One whose interface is gone has `ifindex` 0; what is pinned there and is no TCX link is left out.
    ///
    /// # Errors
    /// When the pins cannot be read.
    pub fn list(&self) -> Result<Vec<(LinkKey, LinkPlace)>, LinkError> {
        let mut links = Vec::new();
        for directory in ["endpoints", "devices"] {
            let owner = if directory == "devices" { Owner::Device } else { Owner::Endpoint };
            for (name, path) in entries(&self.root.join(directory))? {
                for (program, path) in entries(&path.join("links"))? {
                    let Some(link) = open(&path)? else { continue };
                    let place = place_of(&link).map_err(failed(&path, "reading its state"))?;
                    let key = LinkKey { owner: owner(unescape(&name)), program };
                    links.extend(place.map(|place| (key, place)));
                }
            }
        }
        Ok(links)
    }

    /// The programs on a hook in the order they run, ours and those of others.
    ///
    /// # Errors
    /// When the interface does not exist.
    pub fn attached(ifindex: u32, hook: Hook) -> Result<Vec<Attached>, LinkError> {
        let programs = sys::query(ifindex, hook.number()).map_err(|source| LinkError::Query {
            ifindex,
            hook,
            source,
        })?;
        let name = |id| -> io::Result<String> {
            let info: sys::ProgramInfoRaw = sys::info(sys::program_by_id(id)?.as_fd())?;
            Ok(sys::text(&info.name))
        };
        // A program may go while we ask for its name.
        Ok(programs.into_iter().filter_map(|id| Some(Attached { id, name: name(id).ok()? })).collect())
    }

    /// The programs of others on a hook: of no link that is pinned here.
    ///
    /// # Errors
    /// When the interface does not exist or the pins cannot be read.
    pub fn foreign(&self, ifindex: u32, hook: Hook) -> Result<Vec<Foreign>, LinkError> {
        let ours: Vec<u32> = self
            .list()?
            .into_iter()
            .filter(|(_, place)| (place.ifindex, place.hook) == (ifindex, hook))
            .map(|(_, place)| place.program_id)
            .collect();
        let mut before = true;
        let mut foreign = Vec::new();
        for program in Self::attached(ifindex, hook)? {
            if ours.contains(&program.id) {
                before = false;
            } else {
                foreign.push(Foreign { program, before });
            }
        }
        Ok(foreign)
    }

    fn path(&self, key: &LinkKey) -> PathBuf {
        let owner = match &key.owner {
            Owner::Endpoint(name) => self.root.join("endpoints").join(escape(name)),
            Owner::Device(name) => self.root.join("devices").join(escape(name)),
        };
        owner.join("links").join(&key.program)
    }
}

/// [`Links`] with the programs to run: the target of the links' reconciler.
#[derive(Debug)]
pub struct LinkTarget<'a> {
    /// The pins.
    pub links: &'a Links,
    /// The object's programs.
    pub programs: &'a [Program],
}

impl Target<LinkKey, LinkPlace> for LinkTarget<'_> {
    type Error = LinkError;

    fn upsert_batch(&mut self, items: &[(LinkKey, LinkPlace)]) -> Vec<Failed<LinkError>> {
        let ensure = |(key, place): &(LinkKey, LinkPlace)| {
            let program = self.programs.iter().find(|p| p.name() == key.program);
            let program = program.ok_or_else(|| LinkError::NoProgram { program: key.program.clone() })?;
            self.links.ensure(key, place, program).map(|_| ())
        };
        failures(items.iter().map(ensure))
    }

    fn delete_batch(&mut self, keys: &[LinkKey]) -> Vec<Failed<LinkError>> {
        failures(keys.iter().map(|key| self.links.remove(key)))
    }

    fn dump(&mut self) -> Result<Vec<(LinkKey, LinkPlace)>, LinkError> {
        self.links.list()
    }
}

fn failures(results: impl Iterator<Item = Result<(), LinkError>>) -> Vec<Failed<LinkError>> {
    results.enumerate().filter_map(|(index, result)| Some((index, result.err()?))).collect()
}

pub(crate) fn failed(path: &Path, operation: &'static str) -> impl FnOnce(io::Error) -> LinkError {
    let path = path.to_owned();
    move |source| LinkError::Pinned { path, operation, source }
}

/// bpffs keeps names with a dot for itself, and interface names may have one; they never have a colon.
fn escape(name: &str) -> String {
    name.replace('.', ":")
}

fn unescape(name: &str) -> String {
    name.replace(':', ".")
}

pub(crate) fn absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

pub(crate) fn open(path: &Path) -> Result<Option<OwnedFd>, LinkError> {
    match sys::open_pin(path) {
        Ok(link) => Ok(Some(link)),
        Err(error) if absent(&error) => Ok(None),
        Err(error) => Err(failed(path, "opening")(error)),
    }
}

/// `None` if it is a link of another kind.
fn place_of(link: &OwnedFd) -> io::Result<Option<LinkPlace>> {
    let info: sys::LinkInfoRaw = sys::info(link.as_fd())?;
    if info.kind == aya_obj::generated::bpf_link_type::BPF_LINK_TYPE_XDP as u32 {
        let place = LinkPlace { ifindex: info.ifindex, hook: Hook::XdpNative, program_id: info.program };
        return Ok(Some(place));
    }
    let tcx = aya_obj::generated::bpf_link_type::BPF_LINK_TYPE_TCX as u32;
    let hook = Hook::from_number(info.hook).filter(|_| info.kind == tcx);
    Ok(hook.map(|hook| LinkPlace { ifindex: info.ifindex, hook, program_id: info.program }))
}

/// Pins a link in a directory that is made if need be.
pub(crate) fn pin(link: &OwnedFd, path: &Path) -> Result<(), LinkError> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(failed(path, "making its directory"))?;
    }
    sys::pin(link.as_fd(), path).map_err(failed(path, "pinning"))
}

/// Detaches and unpins what is at `path`, if anything.
pub(crate) fn detach(path: &Path) -> Result<(), LinkError> {
    if let Some(link) = open(path)? {
        match sys::link_detach(link.as_fd()) {
            // The interface took the link with it.
            Err(error) if error.raw_os_error() != Some(libc::ENOLINK) => {
                return Err(failed(path, "detaching")(error));
            }
            _ => {}
        }
    }
    match fs::remove_file(path) {
        Err(error) if !absent(&error) => Err(failed(path, "unpinning")(error)),
        _ => Ok(()),
    }
}

/// Names and paths in a directory, sorted; nothing if there is no directory.
fn entries(directory: &Path) -> Result<Vec<(String, PathBuf)>, LinkError> {
    let read = match fs::read_dir(directory) {
        Ok(read) => read,
        Err(error) if absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(failed(directory, "listing")(error)),
    };
    let mut found = Vec::new();
    for entry in read {
        let entry = entry.map_err(failed(directory, "listing"))?;
        found.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    found.sort();
    Ok(found)
}
