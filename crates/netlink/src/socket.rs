//! One socket, one request at a time.

use crate::error::{KernelError, NetlinkError};
use crate::netns::NetNs;
use crate::wire::{Attributes, Message, Messages, Received, text};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Size of the receive buffer; the kernel fills dumps up to what it is offered.
const BUFFER: usize = 64 * 1024;
/// How often a listing that changed underway is read again.
const DUMP_TRIES: u32 = 16;

/// A connection to the kernel's network stack, in the namespace in which it was opened.
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// Opens a socket in the calling thread's namespace.
    pub fn open() -> Result<Self, NetlinkError> {
        let socket = open_socket(SocketFlags::CLOEXEC, None)?;
        for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK] {
            // Without them errors are less well explained; kernels before 4.12 lack the first.
            let _ = enable(&socket, option);
        }
        Ok(Netlink::over(socket))
    }

    /// Requests over an open socket.
    pub(crate) fn over(socket: OwnedFd) -> Self {
        Netlink { socket, sequence: 0, buffer: vec![0; BUFFER] }
    }

    /// Opens a socket in another namespace; it stays there wherever it is used.
    pub fn open_in(namespace: &NetNs) -> Result<Self, NetlinkError> {
        namespace.run(Netlink::open)?
    }

    /// Sends a request that changes something and waits for the kernel's word on it.
    pub(crate) fn execute(
        &mut self,
        mut message: Message,
        what: impl Fn() -> String,
    ) -> Result<(), NetlinkError> {
        self.exchange(&mut message, &what, |_| {}).map(drop)
    }

    /// Sends a request that asks for one object.
    pub(crate) fn ask<T>(
        &mut self,
        mut message: Message,
        what: impl Fn() -> String,
        parse: impl Fn(Received<'_>) -> Option<T>,
    ) -> Result<T, NetlinkError> {
        let mut answer = None;
        self.exchange(&mut message, &what, |received| answer = parse(received))?;
        answer.ok_or_else(|| NetlinkError::Malformed { what: what() })
    }

    /// Sends a request that asks for a list; `parse` picks what belongs in it.
    pub(crate) fn list<T>(
        &mut self,
        message: Message,
        what: impl Fn() -> String,
        parse: impl Fn(Received<'_>) -> Option<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        for _ in 0..DUMP_TRIES {
            let mut items = Vec::new();
            let consistent =
                self.exchange(&mut message.clone(), &what, |received| items.extend(parse(received)))?;
            if consistent {
                return Ok(items);
            }
        }
        Err(NetlinkError::Unstable { what: what(), tries: DUMP_TRIES })
    }

    /// Sends changes that happen together or not at all, framed as nfnetlink wants it.
    pub(crate) fn transaction(
        &mut self,
        begin: Message,
        changes: &[Message],
        end: Message,
        what: impl Fn() -> String,
    ) -> Result<(), NetlinkError> {
        let Some((last, others)) = changes.split_last() else { return Ok(()) };
        // Refusals always come; of the rest only the last one is acknowledged, after all refusals.
        let last = last.clone().flagged(libc::NLM_F_ACK);
        let mut bytes = Vec::new();
        let first_sequence = self.sequence.wrapping_add(1);
        for mut message in [begin].into_iter().chain(others.iter().cloned()).chain([last, end]) {
            self.sequence = self.sequence.wrapping_add(1);
            bytes.extend_from_slice(message.finish(self.sequence));
        }
        let last_sequence = self.sequence.wrapping_sub(1);
        retry(|| send(&self.socket, &bytes, SendFlags::empty()))
            .map_err(|source| NetlinkError::Socket { what: "write to", source })?;
        let mut refusal = None;
        loop {
            let (_, length) = retry(|| recv(&self.socket, &mut self.buffer[..], RecvFlags::TRUNC))
                .map_err(|source| NetlinkError::Socket { what: "read from", source })?;
            let datagram =
                self.buffer.get(..length).ok_or_else(|| NetlinkError::Malformed { what: what() })?;
            for received in Messages(datagram).filter(|m| i32::from(m.kind) == libc::NLMSG_ERROR) {
                let at = received.sequence.wrapping_sub(first_sequence);
                if at > last_sequence.wrapping_sub(first_sequence) {
                    continue;
                }
                refusal = refusal.or_else(|| kernel_error(&received));
                // A refusal of the frame is one of everything.
                if received.sequence == last_sequence || (at == 0 && refusal.is_some()) {
                    let failed = |source| NetlinkError::Kernel { what: what(), source };
                    return refusal.map(failed).map_or(Ok(()), Err);
                }
            }
        }
    }

    /// One request and all its answers. `false`: the list changed while it was read.
    fn exchange(
        &mut self,
        message: &mut Message,
        what: &impl Fn() -> String,
        mut each: impl FnMut(Received<'_>),
    ) -> Result<bool, NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        retry(|| send(&self.socket, message.finish(sequence), SendFlags::empty()))
            .map_err(|source| NetlinkError::Socket { what: "write to", source })?;
        let mut consistent = true;
        loop {
            let (_, length) = retry(|| recv(&self.socket, &mut self.buffer[..], RecvFlags::TRUNC))
                .map_err(|source| NetlinkError::Socket { what: "read from", source })?;
            let datagram =
                self.buffer.get(..length).ok_or_else(|| NetlinkError::Malformed { what: what() })?;
            for received in Messages(datagram).filter(|received| received.sequence == sequence) {
                consistent &= received.flags & libc::NLM_F_DUMP_INTR == 0;
                match i32::from(received.kind) {
                    libc::NLMSG_DONE => return Ok(consistent),
                    libc::NLMSG_ERROR => {
                        return match kernel_error(&received) {
                            None => Ok(consistent),
                            Some(source) => Err(NetlinkError::Kernel { what: what(), source }),
                        };
                    }
                    _ => each(received),
                }
            }
        }
    }
}

/// A socket for requests or subscriptions. The netlink family NETLINK_ROUTE has number 0, the default protocol.
pub(crate) fn open_socket(flags: SocketFlags, protocol: Option<Protocol>) -> Result<OwnedFd, NetlinkError> {
    socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)
        .map_err(|error| NetlinkError::Socket { what: "open", source: error.into() })
}

/// Switches a boolean option of the netlink layer on. rustix has no such call.
fn enable(socket: &OwnedFd, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open for the length of the call (borrowed from an OwnedFd); `on` outlives the call and
    // its size is given; the kernel only reads it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Repeats a call that a signal interrupted.
pub(crate) fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            result => return result.map_err(io::Error::from),
        }
    }
}

/// The error of an acknowledgement; none if it says that all went well.
fn kernel_error(received: &Received<'_>) -> Option<KernelError> {
    /// `struct nlmsgerr` without the request that follows, with NETLINK_CAP_ACK its header only.
    const ERROR_AND_HEADER: usize = 4 + crate::wire::HEADER;
    /// NLMSGERR_ATTR_MSG: the kernel's words.
    const MESSAGE: u16 = 1;
    /// NLM_F_CAPPED: only the header of the request is repeated.
    const CAPPED: i32 = 0x100;
    let errno = crate::wire::u32_at(received.payload, 0)?.cast_signed().checked_neg()?;
    if errno == 0 {
        return None;
    }
    let request = crate::wire::u32_at(received.payload, 4).unwrap_or_default() as usize;
    let words_at =
        if received.flags & CAPPED != 0 { ERROR_AND_HEADER } else { 4 + request.next_multiple_of(4) };
    let message = Attributes::after(received.payload, words_at)
        .find(|(kind, _)| *kind == MESSAGE)
        .map(|(_, m)| text(m));
    Some(KernelError { errno, message: message.unwrap_or_default() })
}
