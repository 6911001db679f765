//! Sockets as the standard library does not give them.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::socket::sockopt::{Linger, ReuseAddr, SocketError};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect, getsockopt, setsockopt,
    socket,
};
use nix::unistd::Pid;

/// Keeps this process on one processor.
pub(crate) fn pin(cpu: Option<usize>) -> Result<()> {
    let Some(cpu) = cpu else { return Ok(()) };
    let mut set = CpuSet::new();
    set.set(cpu).context("no such processor")?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("cannot run on processor {cpu}"))
}

/// Connects over TCP from a chosen source port within `limit`.
pub(crate) fn connect_from(to: SocketAddr, source: Option<u16>, limit: Duration) -> Result<TcpStream, Errno> {
    let fd = socket(family(to), SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    if let Some(port) = source {
        setsockopt(&fd, ReuseAddr, &true)?;
        bind(fd.as_raw_fd(), &SockaddrStorage::from(any(to, port)))?;
    }
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) => {}
        Err(Errno::EINPROGRESS) => finish(&fd, limit)?,
        Err(e) => return Err(e),
    }
    let stream = TcpStream::from(fd);
    let io = |e: std::io::Error| Errno::from_raw(e.raw_os_error().unwrap_or_default());
    stream.set_nonblocking(false).map_err(io)?;
    stream.set_nodelay(true).map_err(io)?;
    stream.set_read_timeout(Some(limit)).map_err(io)?;
    stream.set_write_timeout(Some(limit)).map_err(io)?;
    Ok(stream)
}

/// Makes closing this connection send a reset: no TIME_WAIT holds the port.
pub(crate) fn reset_on_close(stream: &TcpStream) -> Result<(), Errno> {
    setsockopt(stream, Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 })
}

/// A raw ICMP socket; the standard library's type serves to send and receive on it.
pub(crate) fn icmp(v6: bool) -> Result<UdpSocket> {
    let (family, protocol) = match v6 {
        false => (AddressFamily::Inet, SockProtocol::Icmp),
        true => (AddressFamily::Inet6, SockProtocol::IcmpV6),
    };
    let fd =
        socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol).context("ping needs CAP_NET_RAW")?;
    Ok(UdpSocket::from(fd))
}

fn finish(fd: &OwnedFd, limit: Duration) -> Result<(), Errno> {
    let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    if poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLOUT)], timeout)? == 0 {
        return Err(Errno::ETIMEDOUT);
    }
    match getsockopt(fd, SocketError)? {
        0 => Ok(()),
        error => Err(Errno::from_raw(error)),
    }
}

fn family(to: SocketAddr) -> AddressFamily {
    if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn any(to: SocketAddr, port: u16) -> SocketAddr {
    if to.is_ipv4() {
        (std::net::Ipv4Addr::UNSPECIFIED, port).into()
    } else {
        (std::net::Ipv6Addr::UNSPECIFIED, port).into()
    }
}
