//! Network namespaces.

use crate::error::NetlinkError;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;

/// An open network namespace; it lives at least as long as this.
#[derive(Debug)]
pub struct NetNs {
    file: File,
    path: PathBuf,
}

/// What tells two namespaces apart while both exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetNsId {
    /// Device of the namespace file system.
    pub device: u64,
    /// Inode in it.
    pub inode: u64,
}

impl NetNs {
    /// Opens the namespace at `path` (`/var/run/netns/…`, `/proc/PID/ns/net`). That it *is* a network namespace is
    /// found out when it is entered.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, NetlinkError> {
        let path = path.as_ref().to_owned();
        match File::open(&path) {
            Ok(file) => Ok(NetNs { file, path }),
            Err(source) => Err(NetlinkError::NetNs { what: "open", path, source }),
        }
    }

    /// The calling thread's own.
    pub fn current() -> Result<Self, NetlinkError> {
        NetNs::open("/proc/thread-self/ns/net")
    }

    /// A new one without a name, with loopback down. It goes when the last descriptor and process in it go.
    pub fn create() -> Result<Self, NetlinkError> {
        on_thread(|| {
            // SAFETY: only a flag that unshares file descriptors could harm other threads; a network namespace is this
            // thread's own affair, and the thread ends below.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.map_err(|error| {
                NetlinkError::NetNs {
                    what: "create",
                    path: "/proc/thread-self/ns/net".into(),
                    source: error.into(),
                }
            })?;
            NetNs::current()
        })
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What tells it apart from others.
    pub fn id(&self) -> Result<NetNsId, NetlinkError> {
        let meta = self.file.metadata().map_err(|source| self.error("inspect", source))?;
        Ok(NetNsId { device: meta.dev(), inode: meta.ino() })
    }

    /// Runs `work` in this namespace, on a thread of its own: the caller's thread never changes its namespace.
    /// `/proc/sys/net` is this namespace's during the call. A panic of `work` goes on in the caller.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetlinkError> {
        on_thread(|| {
            move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))
                .map_err(|error| self.error("enter", error.into()))?;
            Ok(work())
        })
    }

    fn error(&self, what: &'static str, source: io::Error) -> NetlinkError {
        NetlinkError::NetNs { what, path: self.path.clone(), source }
    }
}

/// The kernel's number for the calling thread's namespace, never given again: what BPF programs know it by
/// (`SO_NETNS_COOKIE`, kernel 5.14).
///
/// # Errors
/// The kernel is older.
pub fn netns_cookie() -> io::Result<u64> {
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
    let mut cookie = 0_u64;
    let mut size = size_of::<u64>() as libc::socklen_t;
    // SAFETY: `cookie` has room for `size` bytes.
    let done = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut size,
        )
    };
    if done == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

/// `include/uapi/asm-generic/socket.h`.
const SO_NETNS_COOKIE: libc::c_int = 71;

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn on_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
