//! The bpf(2) commands that aya 0.14 does not offer, each as a safe function.
//!
//! Every attribute struct below is the prefix of the kernel's `union bpf_attr` for its command (`include/uapi/linux/bpf.h`);
//! the kernel takes any length and reads the rest as zero. zerocopy's derives prove that they have no padding.

use std::{
    ffi::CStr,
    io,
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use aya_obj::generated::{bpf_attach_type, bpf_cmd, bpf_prog_type, bpf_stats_type};
use zerocopy::{FromBytes, Immutable, IntoBytes};

macro_rules! attr {
    ($(#[$meta:meta])* $name:ident { $($field:ident: $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Debug, Clone, Copy, Default, IntoBytes, FromBytes, Immutable)]
        pub(crate) struct $name { $(pub(crate) $field: $type),* }
    };
}

attr! { CreateAttr { kind: u32, key_size: u32, value_size: u32, max_entries: u32, flags: u32, inner_fd: u32, numa: u32,
name: [u8; 16] } }
attr! { ElementAttr { map: u32, pad: u32, key: u64, value: u64, flags: u64 } }
attr! { BatchAttr { in_batch: u64, out_batch: u64, keys: u64, values: u64, count: u32, map: u32, element_flags: u64,
flags: u64 } }
attr! { PathAttr { path: u64, fd: u32, flags: u32 } }
attr! { IdAttr { id: u32, next: u32, flags: u32 } }
attr! { InfoAttr { fd: u32, len: u32, info: u64 } }
attr! { LinkCreateAttr { program: u32, ifindex: u32, hook: u32, flags: u32, relative: u32, pad: u32, revision: u64 } }
attr! { LinkUpdateAttr { link: u32, program: u32, flags: u32, old: u32 } }
attr! { FdAttr { fd: u32 } }
attr! { QueryAttr { ifindex: u32, hook: u32, flags: u32, attach_flags: u32, programs: u64, count: u32, pad: u32,
program_flags: u64, links: u64, link_flags: u64, revision: u64 } }
attr! { TestRunAttr { program: u32, retval: u32, data_in_len: u32, data_out_len: u32, data_in: u64, data_out: u64,
repeat: u32, duration: u32, ctx_in_len: u32, ctx_out_len: u32, ctx_in: u64, ctx_out: u64, flags: u32, cpu: u32,
batch: u32, pad: u32 } }
attr! { EnableStatsAttr { kind: u32 } }
attr! { ProgramLoadAttr { kind: u32, count: u32, instructions: u64, license: u64, log_level: u32, log_size: u32, log: u64,
kernel: u32, flags: u32, name: [u8; 16], ifindex: u32, hook: u32 } }
attr! {
/// First part of `struct bpf_map_info`.
MapInfoRaw { kind: u32, id: u32, key_size: u32, value_size: u32, max_entries: u32, flags: u32, name: [u8; 16] } }
attr! {
/// First part of `struct bpf_link_info`, with the TCX arm of its union.
LinkInfoRaw { kind: u32, id: u32, program: u32, pad: u32, ifindex: u32, hook: u32 } }
attr! {
/// `struct bpf_link_info` of a link to a cgroup.
CgroupLinkInfoRaw { kind: u32, id: u32, program: u32, pad: u32, cgroup: u64, hook: u32, pad2: u32 } }
attr! {
/// First part of `struct bpf_prog_info`, up to the name.
ProgramInfoRaw { kind: u32, id: u32, tag: [u8; 8], jited_len: u32, xlated_len: u32, jited: u64, xlated: u64,
loaded: u64, uid: u32, map_count: u32, maps: u64, name: [u8; 16] } }

/// `BPF_F_AFTER`: with no relative given, the tail of the hook.
pub(crate) const AFTER: u32 = 1 << 4;

/// One bpf(2) call; `attr` is written back by the kernel for some commands.
///
/// # Safety
/// Every address and file descriptor in `attr` must be valid for what `command` does with it, for the whole call.
unsafe fn bpf<A: IntoBytes + FromBytes>(command: bpf_cmd, attr: &mut A) -> io::Result<i32> {
    // SAFETY: `attr` is a live, initialized object of the size we pass, and padding-free; what it points to is the
    // caller's promise.
    let ret = unsafe {
        libc::syscall(libc::SYS_bpf, command as libc::c_long, std::ptr::from_mut(attr), size_of::<A>())
    };
    // A bpf(2) result is an int: -1, 0 or a file descriptor.
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(ret as i32) }
}

/// As [`bpf`], for commands that give a new file descriptor.
///
/// # Safety
/// As for [`bpf`].
unsafe fn bpf_fd<A: IntoBytes + FromBytes>(command: bpf_cmd, attr: &mut A) -> io::Result<OwnedFd> {
    // SAFETY: passed on to our caller.
    let fd = unsafe { bpf(command, attr)? };
    // SAFETY: the kernel just made this descriptor for us and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    // An open descriptor is never negative.
    fd.as_raw_fd() as u32
}

fn address(bytes: &[u8]) -> u64 {
    bytes.as_ptr() as u64
}

fn address_mut(bytes: &mut [u8]) -> u64 {
    bytes.as_mut_ptr() as u64
}

fn c_path(path: &Path) -> io::Result<std::ffi::CString> {
    std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from)
}

/// A name as the kernel gives it: up to the first zero byte.
pub(crate) fn text(name: &[u8]) -> String {
    CStr::from_bytes_until_nul(name).map(|s| s.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A new map. `inner` is the template of a map of maps.
pub(crate) fn map_create(mut attr: CreateAttr, inner: Option<BorrowedFd<'_>>) -> io::Result<OwnedFd> {
    attr.inner_fd = inner.map_or(0, raw);
    // SAFETY: no addresses in this attribute; `inner` is open for the whole call.
    unsafe { bpf_fd(bpf_cmd::BPF_MAP_CREATE, &mut attr) }
}

/// Reads one element into `value`, which must be as long as the map's value (of a per-CPU map: all CPUs'); `false` if
/// the key is not there.
pub(crate) fn map_lookup(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
    let mut attr =
        ElementAttr { map: raw(map), key: address(key), value: address_mut(value), ..Default::default() };
    // SAFETY: callers in this crate check key and value sizes against the map when they open it.
    let found = unsafe { bpf(bpf_cmd::BPF_MAP_LOOKUP_ELEM, &mut attr) };
    absent_is_none(found.map(|_| ())).map(|found| found.is_some())
}

/// Writes one element (`BPF_ANY`).
pub(crate) fn map_update(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    let mut attr =
        ElementAttr { map: raw(map), key: address(key), value: address(value), ..Default::default() };
    // SAFETY: as in `map_lookup`; the kernel only reads here.
    unsafe { bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr) }.map(|_| ())
}

/// Deletes one element; `false` if the key was not there.
pub(crate) fn map_delete(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<bool> {
    let mut attr = ElementAttr { map: raw(map), key: address(key), ..Default::default() };
    // SAFETY: as in `map_lookup`; the kernel only reads the key.
    let deleted = unsafe { bpf(bpf_cmd::BPF_MAP_DELETE_ELEM, &mut attr) };
    absent_is_none(deleted.map(|_| ())).map(|deleted| deleted.is_some())
}

/// The key after `key` (the first if `None`) into `next`; `false` at the end.
pub(crate) fn map_next_key(map: BorrowedFd<'_>, key: Option<&[u8]>, next: &mut [u8]) -> io::Result<bool> {
    let mut attr = ElementAttr {
        map: raw(map),
        key: key.map_or(0, address),
        value: address_mut(next),
        ..Default::default()
    };
    // SAFETY: as in `map_lookup`; `next` is as long as a key, and a null key asks for the first one.
    let found = unsafe { bpf(bpf_cmd::BPF_MAP_GET_NEXT_KEY, &mut attr) };
    absent_is_none(found.map(|_| ())).map(|found| found.is_some())
}

/// A batch read: up to `count` elements after `token` into `keys` and `values`; the token for the next call replaces the
/// given one. Gives how many were read, and whether the end was reached.
pub(crate) fn map_lookup_batch(
    map: BorrowedFd<'_>,
    token: &mut [u8],
    start: bool,
    keys: &mut [u8],
    values: &mut [u8],
    count: u32,
) -> io::Result<(u32, bool)> {
    let mut next = token.to_vec();
    let mut attr = BatchAttr {
        in_batch: if start { 0 } else { address(token) },
        out_batch: address_mut(&mut next),
        keys: address_mut(keys),
        values: address_mut(values),
        count,
        map: raw(map),
        ..Default::default()
    };
    // SAFETY: callers give `keys` and `values` room for `count` elements, and a token at least as long as a key and a
    // u32, the two forms in use.
    let result = unsafe { bpf(bpf_cmd::BPF_MAP_LOOKUP_BATCH, &mut attr) };
    let more = absent_is_none(result.map(|_| ()))?.is_some();
    token.copy_from_slice(&next);
    Ok((attr.count, !more))
}

/// A batch write or delete over `count` elements (`values` is `None` for a delete). Gives how many were done before the
/// first error, and that error.
pub(crate) fn map_change_batch(
    map: BorrowedFd<'_>,
    keys: &[u8],
    values: Option<&[u8]>,
    count: u32,
) -> (u32, io::Result<()>) {
    let command =
        if values.is_some() { bpf_cmd::BPF_MAP_UPDATE_BATCH } else { bpf_cmd::BPF_MAP_DELETE_BATCH };
    let mut attr = BatchAttr {
        keys: address(keys),
        values: values.map_or(0, address),
        count,
        map: raw(map),
        ..Default::default()
    };
    // SAFETY: callers give `keys` and `values` of `count` elements; the kernel only reads them and writes the count.
    match unsafe { bpf(command, &mut attr) } {
        Ok(_) => (count, Ok(())),
        // A kernel that does not know the command leaves the count as it was.
        Err(error) if unsupported(&error) => (0, Err(error)),
        Err(error) => (attr.count.min(count), Err(error)),
    }
}

/// Whether the kernel lacks the command, or the map's type lacks the operation (`ENOTSUPP`, 524, has no libc name).
pub(crate) fn unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP | 524))
}

fn absent_is_none(result: io::Result<()>) -> io::Result<Option<()>> {
    match result {
        Ok(()) => Ok(Some(())),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Pins an object.
pub(crate) fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let mut attr = PathAttr { path: path.as_ptr() as u64, fd: raw(fd), flags: 0 };
    // SAFETY: the path is a live C string.
    unsafe { bpf(bpf_cmd::BPF_OBJ_PIN, &mut attr) }.map(|_| ())
}

/// Opens a pinned object.
pub(crate) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut attr = PathAttr { path: path.as_ptr() as u64, ..Default::default() };
    // SAFETY: the path is a live C string.
    unsafe { bpf_fd(bpf_cmd::BPF_OBJ_GET, &mut attr) }
}

/// Opens a map by its number.
pub(crate) fn map_by_id(id: u32) -> io::Result<OwnedFd> {
    // SAFETY: no addresses in this attribute.
    unsafe { bpf_fd(bpf_cmd::BPF_MAP_GET_FD_BY_ID, &mut IdAttr { id, ..Default::default() }) }
}

/// Opens a program by its number.
pub(crate) fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    // SAFETY: no addresses in this attribute.
    unsafe { bpf_fd(bpf_cmd::BPF_PROG_GET_FD_BY_ID, &mut IdAttr { id, ..Default::default() }) }
}

/// What the kernel says of a map, a link or a program; `T` must be the info struct of that kind of object.
pub(crate) fn info<T: IntoBytes + FromBytes + Default>(fd: BorrowedFd<'_>) -> io::Result<T> {
    let mut info = T::default();
    let mut attr =
        InfoAttr { fd: raw(fd), len: size_of::<T>() as u32, info: address_mut(info.as_mut_bytes()) };
    // SAFETY: the kernel writes at most `len` bytes to `info`, any bytes are a valid `T`, and the addresses inside a
    // program's info are null, which asks for nothing.
    unsafe { bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok(info)
}

/// Attaches a program at the tail of a TCX hook of an interface of the calling thread's network namespace.
pub(crate) fn link_create(
    program: BorrowedFd<'_>,
    ifindex: u32,
    hook: u32,
    flags: u32,
) -> io::Result<OwnedFd> {
    let mut attr = LinkCreateAttr { program: raw(program), ifindex, hook, flags, ..Default::default() };
    // SAFETY: no addresses in this attribute.
    unsafe { bpf_fd(bpf_cmd::BPF_LINK_CREATE, &mut attr) }
}

/// Makes a program run for the sockets of a cgroup (a directory of cgroup v2) and of all below it.
pub(crate) fn link_create_cgroup(
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    hook: u32,
) -> io::Result<OwnedFd> {
    // The kernel's attribute has one field for either: the target.
    let mut attr = LinkCreateAttr { program: raw(program), ifindex: raw(cgroup), hook, ..Default::default() };
    // SAFETY: no addresses in this attribute.
    unsafe { bpf_fd(bpf_cmd::BPF_LINK_CREATE, &mut attr) }
}

/// Swaps the program of a link; packets see either the old or the new one.
pub(crate) fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = LinkUpdateAttr { link: raw(link), program: raw(program), ..Default::default() };
    // SAFETY: no addresses in this attribute.
    unsafe { bpf(bpf_cmd::BPF_LINK_UPDATE, &mut attr) }.map(|_| ())
}

/// Takes a link off its hook at once; dropping the last reference does it too, but some time later.
pub(crate) fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no addresses in this attribute.
    unsafe { bpf(bpf_cmd::BPF_LINK_DETACH, &mut FdAttr { fd: raw(link) }) }.map(|_| ())
}

/// The numbers of the programs on a TCX hook, in the order they run.
pub(crate) fn query(ifindex: u32, hook: u32) -> io::Result<Vec<u32>> {
    let mut programs = vec![0u32; 64];
    let mut attr = QueryAttr {
        ifindex,
        hook,
        programs: address_mut(programs.as_mut_bytes()),
        count: programs.len() as u32,
        ..Default::default()
    };
    // SAFETY: `programs` has room for `count` numbers (64 is the kernel's own limit of a hook).
    let result = unsafe { bpf(bpf_cmd::BPF_PROG_QUERY, &mut attr) };
    // A hook that nobody uses has no entry.
    let count = if absent_is_none(result.map(|_| ()))?.is_some() { attr.count } else { 0 };
    programs.truncate(count as usize);
    Ok(programs)
}

/// Loads a program of these instructions, which need no maps, for a kind of hook.
pub(crate) fn load_program(
    kind: bpf_prog_type,
    hook: bpf_attach_type,
    instructions: &[u64],
) -> io::Result<OwnedFd> {
    let license = c"GPL";
    let mut attr = ProgramLoadAttr {
        kind: kind as u32,
        hook: hook as u32,
        count: instructions.len() as u32,
        instructions: address(instructions.as_bytes()),
        license: license.as_ptr() as u64,
        ..Default::default()
    };
    // SAFETY: both addresses are live for the call, and `count` is the number of eight-byte instructions.
    unsafe { bpf_fd(bpf_cmd::BPF_PROG_LOAD, &mut attr) }
}

/// Has the kernel count run times while the descriptor is open (kernel 5.8).
pub(crate) fn enable_run_time_stats() -> io::Result<OwnedFd> {
    let mut attr = EnableStatsAttr { kind: bpf_stats_type::BPF_STATS_RUN_TIME as u32 };
    // SAFETY: no addresses in this attribute.
    unsafe { bpf_fd(bpf_cmd::BPF_ENABLE_STATS, &mut attr) }
}

/// Has the kernel make frames like `data_in`, run an XDP program on each, and do with them what it says.
pub(crate) fn run_live_frames(
    program: BorrowedFd<'_>,
    data_in: &[u8],
    ctx: &[u8],
    repeat: u32,
) -> io::Result<TestRunAttr> {
    /// `BPF_F_TEST_XDP_LIVE_FRAMES` (kernel 5.18).
    const LIVE_FRAMES: u32 = 2;
    let mut attr = TestRunAttr {
        program: raw(program),
        data_in: address(data_in),
        data_in_len: data_in.len() as u32,
        ctx_in: address(ctx),
        ctx_in_len: ctx.len() as u32,
        repeat,
        flags: LIVE_FRAMES,
        ..Default::default()
    };
    // SAFETY: both buffers live for the call and have the lengths given.
    unsafe { bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr) }?;
    Ok(attr)
}

/// Runs a program on `data_in` and `ctx`; the kernel writes the packet after the last run to `data_out` and the context
/// over `ctx`.
pub(crate) fn test_run(
    program: BorrowedFd<'_>,
    data_in: &[u8],
    data_out: &mut [u8],
    ctx: &mut [u8],
    repeat: u32,
) -> io::Result<TestRunAttr> {
    let ctx_in = ctx.to_vec();
    let mut attr = TestRunAttr {
        program: raw(program),
        data_in: address(data_in),
        data_in_len: data_in.len() as u32,
        data_out: address_mut(data_out),
        data_out_len: data_out.len() as u32,
        ctx_in: address(&ctx_in),
        ctx_in_len: ctx_in.len() as u32,
        ctx_out: address_mut(ctx),
        ctx_out_len: ctx.len() as u32,
        repeat,
        ..Default::default()
    };
    // SAFETY: the four buffers live for the call and have the lengths given.
    unsafe { bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr) }?;
    Ok(attr)
}
