//! What changes under our hands: a stream of changes to links, addresses and routes.

use crate::address::{self, Address};
use crate::error::NetlinkError;
use crate::link::{self, Link};
use crate::route::{self, Route};
use crate::socket::{open_socket, retry};
use crate::wire::Messages;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SocketFlags, bind, netlink::SocketAddrNetlink, recv};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Something changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An interface is new or other than before.
    Link(Link),
    /// An interface is gone.
    LinkGone(Link),
    /// An address is new or other than before.
    Address(Address),
    /// An address is gone.
    AddressGone(Address),
    /// A route is new or other than before.
    Route(Route),
    /// A route is gone.
    RouteGone(Route),
    /// Changes were lost because they came faster than they were read: anything may be other than before, list again.
    Overrun,
}

/// A subscription to all changes in the namespace in which it was opened. The descriptor can be polled: when it is
/// readable, [`Subscription::wait`] does not block.
pub struct Subscription {
    socket: OwnedFd,
    buffer: Vec<u8>,
    queue: VecDeque<Change>,
}

impl Subscription {
    /// Subscribes; changes are told from here on.
    pub fn open() -> Result<Self, NetlinkError> {
        let groups = libc::RTMGRP_LINK
            | libc::RTMGRP_IPV4_IFADDR
            | libc::RTMGRP_IPV6_IFADDR
            | libc::RTMGRP_IPV4_ROUTE
            | libc::RTMGRP_IPV6_ROUTE;
        let socket = open_socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, groups.cast_unsigned()))
            .map_err(|error| NetlinkError::Socket { what: "bind", source: error.into() })?;
        // A burst (a hundred pods at once) must not overrun; refused above the limit of the node, which is fine.
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 4 << 20);
        Ok(Subscription { socket, buffer: vec![0; 64 * 1024], queue: VecDeque::new() })
    }

    /// The next change, or `None` when none came in time (`None` as timeout: waits for ever).
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<Option<Change>, NetlinkError> {
        loop {
            if let Some(change) = self.queue.pop_front() {
                return Ok(Some(change));
            }
            if !self.receive()? && !self.readable(timeout)? {
                return Ok(None);
            }
        }
    }

    /// Waits until there is something to read.
    fn readable(&self, timeout: Option<Duration>) -> Result<bool, NetlinkError> {
        let timeout = timeout.map(|t| Timespec {
            tv_sec: i64::try_from(t.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: t.subsec_nanos().into(),
        });
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            // A signal ends the wait early, as if the time were over; the caller asks again.
            Err(rustix::io::Errno::INTR) => Ok(false),
            result => result
                .map(|ready| ready > 0)
                .map_err(|error| NetlinkError::Socket { what: "wait for", source: error.into() }),
        }
    }

    /// Reads one datagram, if there is one.
    fn receive(&mut self) -> Result<bool, NetlinkError> {
        match retry(|| recv(&self.socket, &mut self.buffer[..], RecvFlags::TRUNC)) {
            Ok((_, length)) => {
                match self.buffer.get(..length) {
                    Some(datagram) => self.queue.extend(Messages(datagram).filter_map(change)),
                    None => self.queue.push_back(Change::Overrun),
                }
                Ok(true)
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                self.queue.push_back(Change::Overrun);
                Ok(true)
            }
            Err(source) => Err(NetlinkError::Socket { what: "read from", source }),
        }
    }
}

impl Iterator for Subscription {
    type Item = Result<Change, NetlinkError>;

    /// The next change, however long it takes; never ends.
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(item) = self.wait(None).transpose() {
                return Some(item);
            }
        }
    }
}

impl AsFd for Subscription {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn change(received: crate::wire::Received<'_>) -> Option<Change> {
    match received.kind {
        libc::RTM_NEWLINK => link::parse(received).map(Change::Link),
        libc::RTM_DELLINK => link::parse(received).map(Change::LinkGone),
        libc::RTM_NEWADDR => address::parse(received).map(Change::Address),
        libc::RTM_DELADDR => address::parse(received).map(Change::AddressGone),
        libc::RTM_NEWROUTE => route::parse(received).map(Change::Route),
        libc::RTM_DELROUTE => route::parse(received).map(Change::RouteGone),
        _ => None,
    }
}
