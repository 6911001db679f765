//! The tables of `iptables-legacy`: one block of entries a table, read and replaced as a whole
//! (`linux/netfilter_ipv4/ip_tables.h`, `ip6_tables.h`, `linux/netfilter/x_tables.h`).

mod block;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::{NfBackend, NfJump, NfTable};
use crate::error::{KernelError, NetlinkError};
use block::{Block, Counters, HOOKS};

/// `IPT_SO_SET_REPLACE`, and `IPT_SO_GET_INFO`.
const REPLACE: libc::c_int = 64;
const GET_INFO: libc::c_int = 64;
/// `IPT_SO_SET_ADD_COUNTERS`, and `IPT_SO_GET_ENTRIES`.
const ADD_COUNTERS: libc::c_int = 65;
const GET_ENTRIES: libc::c_int = 65;
/// Bytes of a table's name in all structs.
const NAME: usize = 32;
/// `struct ipt_getinfo`.
const INFO: usize = 84;
/// `struct ipt_get_entries` without the entries.
const ENTRIES: usize = 40;
/// How often a table that changed underway is read again.
const TRIES: u32 = 8;

/// Tables in use: asking for another one would make it.
pub(super) fn tables() -> Result<Vec<NfTable>, NetlinkError> {
    let mut tables = Vec::new();
    for (v6, file) in
        [(false, "/proc/thread-self/net/ip_tables_names"), (true, "/proc/thread-self/net/ip6_tables_names")]
    {
        match std::fs::read_to_string(file) {
            Ok(names) => {
                let table = |name: &str| NfTable { backend: NfBackend::Legacy, v6, name: name.to_owned() };
                tables.extend(names.lines().map(table));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(NetlinkError::Sysctl { what: "read", path: file.into(), source }),
        }
    }
    Ok(tables)
}

pub(super) fn chains(table: &NfTable) -> Result<BTreeSet<String>, NetlinkError> {
    Ok(Socket::open(table)?.read()?.chains().map(|chain| chain.name.clone()).collect())
}

pub(super) fn jumps(table: &NfTable) -> Result<BTreeSet<NfJump>, NetlinkError> {
    let block = Socket::open(table)?.read()?;
    let jump = |(from, to): (&str, &str)| NfJump { from: from.to_owned(), to: to.to_owned() };
    Ok(block.jumps().into_iter().map(jump).collect())
}

pub(super) fn remove(table: &NfTable, chains: &BTreeSet<String>) -> Result<(), NetlinkError> {
    let socket = Socket::open(table)?;
    for _ in 0..TRIES {
        let block = socket.read()?;
        let Some((left, counters)) = block.without(chains) else { return Ok(()) };
        match socket.replace(&block, &left) {
            Ok(()) => {
                // What a kept rule counted so far is lost otherwise; that would harm nobody.
                let _ = socket.add_counters(&counters);
                return Ok(());
            }
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {}
            Err(error) => return Err(socket.failed("replace")(error)),
        }
    }
    Err(NetlinkError::Unstable { what: socket.what("replace"), tries: TRIES })
}

/// The way to one table.
struct Socket<'a> {
    socket: OwnedFd,
    table: &'a NfTable,
}

impl<'a> Socket<'a> {
    fn open(table: &'a NfTable) -> Result<Self, NetlinkError> {
        let family = if table.v6 { AddressFamily::INET6 } else { AddressFamily::INET };
        // Any socket of the family will do; this kind needs no right of its own.
        let socket = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
            .map_err(|error| NetlinkError::Socket { what: "open", source: error.into() })?;
        Ok(Self { socket, table })
    }

    fn read(&self) -> Result<Block, NetlinkError> {
        let failed = self.failed("read");
        for _ in 0..TRIES {
            let mut info = self.named(INFO);
            self.get(GET_INFO, &mut info).map_err(&failed)?;
            let word = |at: usize| u32::from_ne_bytes([info[at], info[at + 1], info[at + 2], info[at + 3]]);
            let hooks = |at: usize| -> [u32; HOOKS] { std::array::from_fn(|hook| word(at + 4 * hook)) };
            let (valid, entry, underflow) = (word(32), hooks(36), hooks(56));
            let (count, size) = (word(76), word(80));
            let mut entries = self.named(ENTRIES + size as usize);
            entries[NAME..NAME + 4].copy_from_slice(&size.to_ne_bytes());
            match self.get(GET_ENTRIES, &mut entries) {
                Ok(()) => {}
                // It has another size by now.
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => continue,
                Err(error) => return Err(failed(error)),
            }
            let bytes = entries.split_off(ENTRIES);
            return Block::parse(self.table.v6, valid, entry, underflow, count, bytes)
                .ok_or_else(|| NetlinkError::Malformed { what: self.what("read") });
        }
        Err(NetlinkError::Unstable { what: self.what("read"), tries: TRIES })
    }

    /// Puts `new` in the place of `old`.
    fn replace(&self, old: &Block, new: &Block) -> io::Result<()> {
        let mut before = vec![Counters::default(); old.count as usize];
        let mut bytes = self.named(NAME);
        for word in [new.valid, new.count, new.bytes.len() as u32] {
            bytes.extend(word.to_ne_bytes());
        }
        for word in new.entry.iter().chain(&new.underflow).chain([&old.count]) {
            bytes.extend(word.to_ne_bytes());
        }
        // The kernel writes what the old rules counted to this address; the call ends before `before` does.
        bytes.extend((before.as_mut_ptr() as usize as u64).to_ne_bytes());
        bytes.extend(&new.bytes);
        self.set(REPLACE, &bytes)
    }

    fn add_counters(&self, counters: &[Counters]) -> io::Result<()> {
        let mut bytes = self.named(NAME);
        bytes.extend((counters.len() as u32).to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(counters.iter().flatten());
        self.set(ADD_COUNTERS, &bytes)
    }

    /// `length` bytes that begin with the table's name.
    fn named(&self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let name = self.table.name.as_bytes();
        let kept = name.len().min(NAME - 1);
        bytes[..kept].copy_from_slice(&name[..kept]);
        bytes
    }

    fn level(&self) -> libc::c_int {
        if self.table.v6 { libc::SOL_IPV6 } else { libc::SOL_IP }
    }

    fn get(&self, option: libc::c_int, bytes: &mut [u8]) -> io::Result<()> {
        let mut length = bytes.len() as libc::socklen_t;
        // SAFETY: the descriptor is open for the length of the call (borrowed from an OwnedFd); the kernel writes at
        // most `length` bytes, which `bytes` has. rustix has no call for these options.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_fd().as_raw_fd(),
                self.level(),
                option,
                bytes.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    fn set(&self, option: libc::c_int, bytes: &[u8]) -> io::Result<()> {
        // SAFETY: the descriptor is open for the length of the call (borrowed from an OwnedFd); the kernel reads
        // `bytes.len()` bytes. The one address among them (see `replace`) is that of a live buffer with room for as
        // many counters as the struct says; the kernel refuses if the table has another number.
        let result = unsafe {
            libc::setsockopt(
                self.socket.as_fd().as_raw_fd(),
                self.level(),
                option,
                bytes.as_ptr().cast(),
                bytes.len() as libc::socklen_t,
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    fn what(&self, verb: &str) -> String {
        format!(
            "{verb} the table {} of ip{}tables-legacy",
            self.table.name,
            if self.table.v6 { "6" } else { "" }
        )
    }

    fn failed(&self, verb: &'static str) -> impl Fn(io::Error) -> NetlinkError {
        move |error| {
            let errno = error.raw_os_error().unwrap_or_default();
            let source = KernelError { errno, message: String::new() };
            NetlinkError::Kernel { what: self.what(verb), source }
        }
    }
}
