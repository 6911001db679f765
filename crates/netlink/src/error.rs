//! What can go wrong, in words that help.

use std::{fmt, io, path::PathBuf};

/// A request to the kernel's network stack failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetlinkError {
    /// The kernel refused.
    #[error("cannot {what}: {}", source.cure())]
    Kernel {
        /// What was tried.
        what: String,
        /// Why not.
        source: KernelError,
    },
    /// The socket does not work.
    #[error("cannot {what} the netlink socket: is this process root with CAP_NET_ADMIN?")]
    Socket {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// What the kernel sent cannot be read.
    #[error("the kernel's answer to \"{what}\" is cut short: report this with the kernel's version")]
    Malformed {
        /// What was asked.
        what: String,
    },
    /// What was listed kept changing while it was read.
    #[error("cannot {what}: it changed at every one of {tries} readings; try again when the node is calmer")]
    Unstable {
        /// What was tried.
        what: String,
        /// How often.
        tries: u32,
    },
    /// A name that the kernel would not take.
    #[error("`{name}` is no name for an interface: 1 to 15 bytes, without `/`, `:` and spaces")]
    Name {
        /// The name.
        name: String,
    },
    /// A network namespace cannot be entered.
    #[error("cannot {what} the network namespace {}: does it still exist, and is this process root?", path.display())]
    NetNs {
        /// What was tried.
        what: &'static str,
        /// Where it was expected.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A setting of the kernel cannot be read or written.
    #[error("cannot {what} {}: is /proc/sys writable here, and is this part of the kernel built in?", path.display())]
    Sysctl {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl NetlinkError {
    /// The kernel's error number, if it gave one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            NetlinkError::Kernel { source, .. } => Some(source.errno),
            NetlinkError::Socket { source, .. }
            | NetlinkError::NetNs { source, .. }
            | NetlinkError::Sysctl { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    /// Whether what was named does not exist.
    pub fn is_missing(&self) -> bool {
        matches!(
            self.errno(),
            Some(libc::ENODEV | libc::ESRCH | libc::ENOENT | libc::EADDRNOTAVAIL | libc::ENXIO)
        )
    }

    /// Whether what was to be made exists already.
    pub fn is_existing(&self) -> bool {
        self.errno() == Some(libc::EEXIST)
    }
}

/// The kernel's refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelError {
    /// Error number, positive.
    pub errno: i32,
    /// The kernel's own words (extended acknowledgement); empty if it said none.
    pub message: String,
}

impl KernelError {
    /// What to do about it.
    pub fn cure(&self) -> &'static str {
        match self.errno {
            libc::EPERM | libc::EACCES => "run as root with CAP_NET_ADMIN",
            libc::EEXIST => "it exists already; remove the old one if it is not in use",
            libc::ENODEV => "the interface does not exist; was it removed in the meantime?",
            libc::ESRCH | libc::ENOENT | libc::EADDRNOTAVAIL => {
                "it does not exist; was it removed in the meantime?"
            }
            libc::ENETUNREACH | libc::EHOSTUNREACH => {
                "there is no route to the gateway; is the interface up and in place?"
            }
            libc::ENETDOWN => "the interface is down; set it up first",
            libc::EOPNOTSUPP | libc::EAFNOSUPPORT => {
                "this kernel lacks the feature; load or build in its module"
            }
            libc::ENOBUFS | libc::ENOMEM => "the kernel is out of memory; try again",
            libc::EBUSY => "something else uses it; stop that first",
            libc::EINVAL | libc::ERANGE => "the kernel takes no such value; see its own words",
            _ => "see the kernel's own words",
        }
    }
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = io::Error::from_raw_os_error(self.errno);
        if self.message.is_empty() { error.fmt(f) } else { write!(f, "{}: {error}", self.message) }
    }
}

impl std::error::Error for KernelError {}
