//! Packets a second from a node port to a backend elsewhere: by our XDP program, and by the stack with nftables' DNAT and
//! masquerading. The kernel itself makes the packets (live frames of `BPF_PROG_TEST_RUN`), so that no generator is measured.

use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use abi::service::{NODE_PORT, WILDCARD_V4};
use abi::{Backend, Frontend, FrontendKey, Range};
use anyhow::{Context, Result, anyhow, ensure};
use kernel_tests::pair::{ETH0, Pair, addr, mac};
use kernel_tests::place::Place;
use loader::testrun::{Generator, test_run_xdp};
use sim::frame::{Spec, build};

use super::rounds::Effort;
use crate::figure::{Figure, Figures};
use crate::stats::estimate;

/// Prefixes of the figures of this part.
pub(super) const PREFIXES: &[&str] = &["xdp."];

const PORT: u16 = 30_080;
const NODE: &str = "172.31.0.11";
const CLIENT: &str = "172.31.0.100";
const CLIENT_PORT: u16 = 40_000;
const BACKEND: &str = "10.244.2.20";
const BACKEND_PORT: u16 = 8080;
/// Where IPv4 keeps the source port, behind an Ethernet header.
const SOURCE_PORT_AT: usize = 34;
const UDP: u8 = 17;
const XDP_TX: u32 = 3;
/// Packets of a turn; the counter of what was sent must show them.
const PACKETS: u32 = 500_000;
/// What every packet to the node port has to be, and become: kube-proxy's rules for one service, without its searching.
const RULES: &str = "table ip nat {
  chain pre { type nat hook prerouting priority dstnat; udp dport 30080 dnat to 10.244.2.20:8080; }
  chain post { type nat hook postrouting priority srcnat; oifname eth0 masquerade; }
}";

/// The figures of this part.
pub(super) fn figures() -> Vec<Figure> {
    vec![
        Figure::higher("xdp.over_nftables", "ratio").goal(5.0).peer("nftables DNAT, packets a second"),
        Figure::lower("xdp.program", "ns").peer("a program that lets packets pass"),
        Figure::higher("xdp.ours", "packets/s"),
        Figure::higher("xdp.nftables", "packets/s"),
    ]
}

/// Measures everything of this part.
pub(super) fn measure(figures: &mut Figures, effort: Effort) -> Result<()> {
    // Namespaces belong to a thread.
    let work = move || -> Result<[Vec<f64>; 3]> {
        let place = Place::enter()?.context("measuring programs needs root")?;
        // A device of the kind hands frames over where its other end polls for them.
        run("ethtool", &["-K", "p-eth0", "gro", "on"])?;
        let pair = Pair::new(place, false, 0)?;
        node_port(&pair)?;
        let packet = packet((CLIENT, CLIENT_PORT), (NODE, PORT));
        let sent_on = |packet: &[u8]| -> Result<Vec<u8>> {
            let (verdict, sent) = test_run_xdp(pair.program("xdp_ingress")?, packet, ETH0)?;
            ensure!(verdict == XDP_TX, "our program does not send a packet on, it says {verdict}");
            Ok(sent)
        };
        // A connection that is answered, as most are.
        let sent = sent_on(&packet)?;
        let port = u16::from_be_bytes([sent[SOURCE_PORT_AT], sent[SOURCE_PORT_AT + 1]]);
        sent_on(&self::packet((BACKEND, BACKEND_PORT), (NODE, port)))?;
        let ours = Generator::new(&packet, Some(pair.program("xdp_ingress")?)).context("packets for us")?;
        let stack = Generator::new(&packet, None::<&OwnedFd>).context("packets for the stack")?;
        // Ours leave before there is another way.
        turn(&ours)?;
        run("nft", &[RULES])?;
        turn(&stack)?;
        let mut rates = [Vec::new(), Vec::new()];
        let mut dry = Vec::new();
        for _ in 0..effort.rounds {
            let [program, nothing] = [ours.run_dry(ETH0, PACKETS)?, stack.run_dry(ETH0, PACKETS)?];
            dry.push(program.saturating_sub(nothing).as_nanos() as f64);
            for (packets, rates) in [&ours, &stack].into_iter().zip(&mut rates) {
                rates.push(1.0 / turn(packets)?.as_secs_f64());
            }
        }
        let [ours, stack] = rates;
        Ok([ours, stack, dry])
    };
    let samples = std::thread::spawn(work).join();
    let [ours, stack, dry] = samples.map_err(|_| anyhow!("measuring XDP ended in a panic"))??;
    figures.set_estimate("xdp.program", estimate(&dry), dry.len())?;
    figures.set_ratio("xdp.over_nftables", &ours, &stack)?;
    figures.set_estimate("xdp.ours", estimate(&ours), ours.len())?;
    figures.set_estimate("xdp.nftables", estimate(&stack), stack.len())
}

fn node_port(pair: &Pair) -> Result<()> {
    let maps = pair.maps();
    let backend = Backend { addr: addr(BACKEND), port: BACKEND_PORT.to_be(), _pad: 0 };
    maps.backends.insert(&0, &backend)?;
    let range = Range { start: 0, count: 1, maglev: 0 };
    let row = Frontend { service: 1, flags: NODE_PORT, external: range, internal: range, affinity: 0 };
    let key = FrontendKey { addr: WILDCARD_V4, port: PORT.to_be(), protocol: UDP, _pad: 0 };
    Ok(maps.frontends.insert(&key, &row)?)
}

/// A packet as it comes from the link.
fn packet(from: (&str, u16), to: (&str, u16)) -> Vec<u8> {
    let address = |text: &str| text.parse().unwrap_or(std::net::IpAddr::from([0; 4]));
    build(&Spec {
        source_mac: mac(0x30),
        destination_mac: [2, 0, 0, 0, 1, 0],
        source: address(from.0),
        destination: address(to.0),
        protocol: UDP,
        source_port: from.1,
        destination_port: to.1,
        flags: 0,
        hops: 64,
    })
}

/// Sends the packets of a turn; the mean time of one. All of them have to leave.
fn turn(packets: &Generator) -> Result<Duration> {
    let before = sent()?;
    let time = packets.run(ETH0, PACKETS)?;
    let left = sent()? - before;
    ensure!(left * 100 >= u64::from(PACKETS) * 99, "only {left} of {PACKETS} packets left the node");
    Ok(time)
}

/// Packets that arrived at the other end of the device.
fn sent() -> Result<u64> {
    let path = "/sys/class/net/p-eth0/statistics/rx_packets";
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {path}"))?;
    text.trim().parse().with_context(|| format!("{path} holds {text:?}"))
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("starting {program}"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {arguments:?}: {}", error.trim());
    Ok(())
}
