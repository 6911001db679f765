//! Echo requests until somebody answers.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recv, sendto, socket_with,
};
use sim::frame::checksum;

const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
/// Length of an IPv4 header without options, which a raw socket gives along.
const IP_HEADER: usize = 20;

/// Sends a request each `pause` until an answer comes; how many it took.
pub(super) fn until_answered(address: IpAddr, pause: Duration, limit: Duration) -> Result<u32> {
    let IpAddr::V4(v4) = address else { anyhow::bail!("{address} is not IPv4") };
    let socket = socket_with(AddressFamily::INET, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::ICMP))
        .context("a socket for echo requests")?;
    // Whole microseconds; zero would wait for ever.
    rustix::net::sockopt::set_socket_timeout(&socket, rustix::net::sockopt::Timeout::Recv, Some(pause))
        .context("a time limit")?;
    let start = Instant::now();
    let mut sent = 0_u32;
    while start.elapsed() < limit {
        sent += 1;
        let request = request(sent as u16);
        // While there is no route or neighbour yet this fails; trying again is the point.
        let _ = sendto(&socket, &request, SendFlags::empty(), &SocketAddr::new(address, 0));
        let round = Instant::now();
        while round.elapsed() < pause {
            let mut packet = [0; 128];
            let Ok((length, _)) = recv(&socket, &mut packet, RecvFlags::empty()) else { break };
            // The socket sees the answers to everybody.
            let from_it = packet[12..16] == v4.octets();
            if from_it && length > IP_HEADER && packet[IP_HEADER] == ECHO_REPLY {
                return Ok(sent);
            }
        }
    }
    ensure!(false, "{address} did not answer {sent} echo requests in {limit:?}");
    Ok(sent)
}

fn request(sequence: u16) -> [u8; 16] {
    let mut packet = [0; 16];
    packet[0] = ECHO_REQUEST;
    packet[4..6].copy_from_slice(&(std::process::id() as u16).to_be_bytes());
    packet[6..8].copy_from_slice(&sequence.to_be_bytes());
    let sum = checksum(&packet);
    packet[2..4].copy_from_slice(&sum.to_be_bytes());
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_a_right_checksum() {
        assert_eq!(checksum(&request(7)), 0);
    }
}
