//! Single questions: can I reach it, and as whom am I seen?

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::errno::Errno;
use serde::Serialize;

use crate::Output;
use crate::socket::{connect_from, icmp};

/// What came of one question.
#[derive(Serialize)]
pub(crate) struct Answer {
    ok: bool,
    /// "ok", "timeout", "refused", "unreachable", "reset", "closed" (nothing said) or another system error's name.
    pub(crate) outcome: String,
    micros: u64,
    /// Our address and port as the server sees them.
    seen_as: Option<String>,
    /// The server's host name.
    pub(crate) host: Option<String>,
}

impl Answer {
    fn new(start: Instant, result: Result<String, Errno>) -> Self {
        let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        match result {
            Ok(text) => {
                let mut words = text.split_whitespace().map(str::to_owned);
                let (seen_as, host) = (words.next(), words.next());
                Self { ok: true, outcome: "ok".into(), micros, seen_as, host }
            }
            Err(e) => Self { ok: false, outcome: outcome(e), micros, seen_as: None, host: None },
        }
    }

    /// Prints it; true if the server answered.
    pub(crate) fn print(&self, to: SocketAddr, output: Output) -> Result<bool> {
        match output {
            Output::Json => println!("{}", serde_json::to_string(self)?),
            Output::Text => {
                print!("{to}: {} after {:.2} ms", self.outcome, self.micros as f64 / 1000.0);
                match (&self.host, &self.seen_as) {
                    (Some(host), Some(seen_as)) => println!(", {host} sees {seen_as}"),
                    _ => println!(),
                }
            }
        }
        Ok(self.ok)
    }
}

/// The server ended the connection in good order and had said nothing.
const CLOSED: Errno = Errno::ENODATA;

/// A word for a failed attempt.
pub(crate) fn outcome(error: Errno) -> String {
    match error {
        Errno::ETIMEDOUT | Errno::EAGAIN => "timeout".into(),
        Errno::ECONNREFUSED => "refused".into(),
        Errno::ECONNRESET | Errno::EPIPE => "reset".into(),
        CLOSED => "closed".into(),
        Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::EACCES | Errno::EPERM => "unreachable".into(),
        other => format!("{other:?}"),
    }
}

/// Connects and, unless the handshake is enough, asks who we are.
pub(crate) fn connect(to: SocketAddr, source: Option<u16>, handshake: bool, limit: Duration) -> Answer {
    let start = Instant::now();
    let result = match handshake {
        true => connect_from(to, source, limit).map(|_| String::new()),
        false => ask(to, source, limit),
    };
    Answer::new(start, result)
}

fn ask(to: SocketAddr, source: Option<u16>, limit: Duration) -> Result<String, Errno> {
    let mut stream = connect_from(to, source, limit)?;
    stream.write_all(b"w").map_err(errno)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(errno)?;
    if text.is_empty() { Err(CLOSED) } else { Ok(text) }
}

/// Sends a datagram of `size` bytes and waits for the answer.
pub(crate) fn udp(to: SocketAddr, source: Option<u16>, size: usize, limit: Duration) -> Answer {
    let start = Instant::now();
    Answer::new(start, ask_udp(to, source, size, limit).map_err(errno))
}

fn ask_udp(to: SocketAddr, source: Option<u16>, size: usize, limit: Duration) -> std::io::Result<String> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, source.unwrap_or(0)))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(limit))?;
    socket.send(&vec![b'w'; size.max(1)])?;
    let mut buffer = vec![0; 64 << 10];
    let n = socket.recv(&mut buffer)?;
    let text = String::from_utf8_lossy(&buffer[..n]);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn errno(e: std::io::Error) -> Errno {
    Errno::from_raw(e.raw_os_error().unwrap_or(nix::libc::EIO))
}

/// What came of some echo requests.
#[derive(Serialize)]
pub(crate) struct Pings {
    to: IpAddr,
    sent: u16,
    received: u16,
    micros: Vec<u64>,
}

impl Pings {
    /// Prints it; true if all were answered.
    pub(crate) fn print(&self, output: Output) -> Result<bool> {
        let to = self.to;
        match output {
            Output::Json => println!("{}", serde_json::to_string(self)?),
            Output::Text => {
                for (n, micros) in self.micros.iter().enumerate() {
                    println!("{to}: answer {} after {:.2} ms", n + 1, *micros as f64 / 1000.0);
                }
                println!("{to}: {} of {} answered", self.received, self.sent);
            }
        }
        Ok(self.received == self.sent)
    }
}

/// Sends echo requests one after the other.
pub(crate) fn ping(
    to: IpAddr,
    count: u16,
    size: usize,
    limit: Duration,
    interval: Duration,
) -> Result<Pings> {
    let socket = icmp(to.is_ipv6())?;
    let id = u16::try_from(std::process::id() & 0xffff)?;
    let mut pings = Pings { to, sent: 0, received: 0, micros: Vec::new() };
    for sequence in 0..count {
        if sequence > 0 {
            std::thread::sleep(interval);
        }
        let start = Instant::now();
        pings.sent += 1;
        if socket.send_to(&echo_request(to.is_ipv6(), id, sequence, size), (to, 0)).is_err() {
            continue;
        }
        if wait_for_reply(&socket, to, id, sequence, start + limit)? {
            pings.received += 1;
            pings.micros.push(u64::try_from(start.elapsed().as_micros())?);
        }
    }
    Ok(pings)
}

/// A raw socket sees every ICMP message of the host; picks ours.
fn wait_for_reply(socket: &UdpSocket, to: IpAddr, id: u16, sequence: u16, deadline: Instant) -> Result<bool> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        socket.set_read_timeout(Some(left))?;
        let Ok((n, from)) = socket.recv_from(&mut buffer) else { continue };
        // IPv4 comes with its header, IPv6 without.
        let head = if to.is_ipv6() { 0 } else { usize::from(buffer[0] & 0x0f) * 4 };
        let reply = if to.is_ipv6() { 129 } else { 0 };
        let Some(message) = buffer.get(head..n) else { continue };
        if from.ip() == to && is_echo(message, reply, id, sequence) {
            return Ok(true);
        }
    }
}

fn is_echo(message: &[u8], kind: u8, id: u16, sequence: u16) -> bool {
    let [id, sequence] = [id, sequence].map(u16::to_be_bytes);
    message.len() >= 8 && message[0] == kind && message[4..6] == id && message[6..8] == sequence
}

/// RFC 792 and RFC 4443; the kernel fills in the IPv6 checksum.
fn echo_request(v6: bool, id: u16, sequence: u16, size: usize) -> Vec<u8> {
    let mut message = vec![if v6 { 128 } else { 8 }, 0, 0, 0];
    message.extend(id.to_be_bytes());
    message.extend(sequence.to_be_bytes());
    message.extend((0..size).map(|i| i as u8));
    if !v6 {
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    message
}

/// RFC 1071.
fn checksum(data: &[u8]) -> u16 {
    let words = data.chunks(2).map(|c| u32::from(c[0]) << 8 | u32::from(*c.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_with_its_checksum_sums_to_nothing() {
        for size in [0, 1, 56, 57, 1400] {
            assert_eq!(checksum(&echo_request(false, 0x1234, 7, size)), 0, "size {size}");
        }
    }

    #[test]
    fn only_our_reply_counts() {
        let mut reply = echo_request(true, 5, 6, 0);
        reply[0] = 129;
        assert!(is_echo(&reply, 129, 5, 6));
        assert!(!is_echo(&reply, 129, 5, 7));
        assert!(!is_echo(&reply[..7], 129, 5, 6));
    }
}
