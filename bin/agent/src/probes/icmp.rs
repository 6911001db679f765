//! ICMP echo over raw sockets.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket as StdSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// Types of messages: request and answer.
const V4: (u8, u8) = (8, 0);
const V6: (u8, u8) = (128, 129);

/// Tells echoes that are under way at once apart.
static SEQUENCE: AtomicU16 = AtomicU16::new(0);

/// Sends one request and waits for its answer.
///
/// # Errors
/// No answer within `patience`, or no right to send (CAP_NET_RAW).
pub(super) async fn echo(to: IpAddr, patience: Duration) -> io::Result<Duration> {
    let (family, protocol, kinds) = match to {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP, V4),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6, V6),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::RAW, flags, Some(protocol))?;
    // Any socket of datagrams can be sent to and received from through this type.
    let socket = UdpSocket::from_std(StdSocket::from(socket))?;
    // A connected socket gets packets from that address only.
    socket.connect(SocketAddr::new(to, 0)).await?;
    let (identifier, sequence) = (std::process::id() as u16, SEQUENCE.fetch_add(1, Ordering::Relaxed));
    let request = request(kinds.0, identifier, sequence);
    let start = Instant::now();
    socket.send(&request).await?;
    let wait = async {
        let mut buffer = [0; 256];
        loop {
            let length = socket.recv(&mut buffer).await?;
            if is_answer(&buffer[..length], to.is_ipv4(), kinds.1, &request) {
                return Ok(start.elapsed());
            }
        }
    };
    timeout(patience, wait).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// An echo request; the kernel fills the checksum of ICMPv6 in.
fn request(kind: u8, identifier: u16, sequence: u16) -> [u8; 16] {
    let mut message = [0; 16];
    message[0] = kind;
    message[4..6].copy_from_slice(&identifier.to_be_bytes());
    message[6..8].copy_from_slice(&sequence.to_be_bytes());
    message[8..].copy_from_slice(b"axoneme!");
    if kind == V4.0 {
        let sum = message
            .chunks_exact(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum::<u32>();
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        message[2..4].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    }
    message
}

/// Whether a packet answers a request: same identifier, sequence and data. IPv4 packets come with their header.
fn is_answer(packet: &[u8], v4: bool, kind: u8, request: &[u8; 16]) -> bool {
    let start = match (v4, packet.first()) {
        (true, Some(first)) => usize::from(first & 0x0f) * 4,
        _ => 0,
    };
    let Some(message) = packet.get(start..) else { return false };
    message.first() == Some(&kind) && message.get(4..16) == Some(&request[4..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_from_other_messages() {
        let asked = request(V4.0, 7, 9);
        let sum: u32 =
            asked.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "the checksum is right");
        let mut packet = vec![0x45; 20];
        packet.extend_from_slice(&asked);
        assert!(!is_answer(&packet, true, V4.1, &asked), "a request is no answer");
        packet[20] = V4.1;
        assert!(is_answer(&packet, true, V4.1, &asked));
        assert!(!is_answer(&packet, true, V4.1, &request(V4.0, 7, 10)));
        assert!(!is_answer(&packet[..24], true, V4.1, &asked) && !is_answer(&[], true, V4.1, &asked));
        let mut message = request(V6.0, 7, 9);
        message[0] = V6.1;
        assert!(is_answer(&message, false, V6.1, &request(V6.0, 7, 9)));
    }

    /// Tests run as root, or say what is missing.
    #[tokio::test]
    async fn this_machine_answers() {
        match echo("127.0.0.1".parse().expect("an address"), Duration::from_secs(5)).await {
            Ok(time) => assert!(time < Duration::from_secs(5)),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}"),
        }
    }
}
