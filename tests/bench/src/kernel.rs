//! What programs cost, without any device: test runs of one fresh packet each, timed by the kernel's own counters
//! (`BPF_ENABLE_STATS`), less what an empty program costs on the same packets. Both are run in turns, so that
//! what else the machine does meets both.

pub(crate) mod lookup;
mod node;

use anyhow::{Context, Result, anyhow, ensure};
use kernel_tests::random::Random;

use crate::figure::{Figure, Figures};
use crate::stats::{Estimate, estimate};
use node::{ACK, Node, Packet, REDIRECT, SHOT, SYN, Way};

/// Prefixes of the figures of this part.
pub(crate) const PREFIXES: &[&str] = &["programs.walked", "packet."];

const PROGRAMS: &[&str] =
    &["pod_egress", "netdev_ingress", "netdev_egress", "overlay_ingress", "host_egress"];
const LARGEST: &str = "programs.walked.largest";
const MANY: u32 = 100_000;
/// (name of the case, way, through the tunnel).
const CASES: &[(&str, Way, bool)] = &[
    ("pod_to_local_pod", Way::PodToPod, false),
    ("pod_to_remote_pod", Way::PodToRemote, false),
    ("remote_pod_to_pod", Way::RemoteToPod, false),
    ("host_to_pod", Way::HostToPod, false),
    ("pod_to_world", Way::PodToWorld, false),
    ("pod_to_remote_pod_vxlan", Way::PodToRemote, true),
    ("remote_pod_to_pod_vxlan", Way::RemoteToPod, true),
];
/// Entries of the policy that a new flow meets.
const POLICY_ENTRIES: &[usize] = &[10, 16_000, 64_000];
/// The one case whose packet can be run again and again: nothing of it changes but link addresses, which the node's own
/// packets are not asked for. Everything is in the processor's caches then.
const IN_A_ROW: &str = "packet.established.host_to_pod.1_flow_in_a_row";
const OVER_EMPTY: &str = "an empty program";

/// The figures of this part.
pub(crate) fn figures() -> Vec<Figure> {
    let mut figures =
        vec![Figure::lower(LARGEST, "instructions").goal(50_000.0).peer("Cilium 1.19.4: 48,000")];
    for program in PROGRAMS {
        figures.push(Figure::lower(format!("programs.walked.{program}"), "instructions").goal(50_000.0));
    }
    for (case, ..) in CASES {
        let name = |flows: &str| format!("packet.established.{case}.{flows}");
        figures.push(Figure::lower(name("1_flow"), "ns").goal(100.0).peer(OVER_EMPTY));
        figures.push(Figure::lower(name("100000_flows"), "ns").goal(350.0).peer(OVER_EMPTY));
    }
    figures.push(Figure::lower(IN_A_ROW, "ns").goal(100.0).peer(OVER_EMPTY));
    for what in ["policies_64000", "identities_100000", "prefixes_10000"] {
        let name = format!("packet.established.unchanged_by.{what}");
        figures.push(Figure::lower(name, "ratio").goal(1.05).peer("the same packet with next to none"));
    }
    for entries in POLICY_ENTRIES {
        figures.push(Figure::lower(format!("packet.new_flow.policies_{entries}"), "ns").peer(OVER_EMPTY));
        figures.push(Figure::lower(format!("packet.denied.policies_{entries}"), "ns").peer(OVER_EMPTY));
    }
    figures.push(Figure::lower("packet.new_flow.unreported", "ns").peer(OVER_EMPTY));
    figures.push(Figure::lower("packet.denied.unreported", "ns").peer(OVER_EMPTY));
    figures.push(Figure::lower("packet.new_flow.identities_100000", "ns").peer(OVER_EMPTY));
    figures.push(Figure::lower("packet.new_flow.prefixes_10000", "ns").peer(OVER_EMPTY));
    figures
}

/// How long to look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Turns of program and empty program.
    pub(crate) turns: usize,
    /// Packets of a turn: few, because what interrupts a program is counted as its time, and spoils the whole turn.
    pub(crate) packets: usize,
}

/// Measures everything of this part.
pub(crate) fn measure(figures: &mut Figures, effort: Effort) -> Result<()> {
    let _counting = loader::testrun::count_run_time().context("having the kernel count run times")?;
    for tunnel in [false, true] {
        // Namespaces belong to a thread.
        let outcome =
            std::thread::scope(|scope| scope.spawn(|| in_one_world(figures, effort, tunnel)).join());
        outcome.map_err(|_| anyhow!("a thread of the measurement panicked"))??;
    }
    Ok(())
}

fn in_one_world(figures: &mut Figures, effort: Effort, tunnel: bool) -> Result<()> {
    let mut node = Node::new(tunnel)?;
    // Now, not before: the thread that reads events stays free to run elsewhere.
    pin_to_last_cpu()?;
    if tunnel {
        walked(figures, &node)?;
    }
    for (case, way, _) in CASES.iter().filter(|case| case.2 == tunnel) {
        established(figures, &node, effort, case, *way).with_context(|| format!("established, {case}"))?;
    }
    if !tunnel {
        in_a_row(figures, &node, effort)?;
        unchanged(figures, &mut node, effort)?;
        slow(figures, &mut node, effort)?;
    }
    Ok(())
}

fn walked(figures: &mut Figures, node: &Node) -> Result<()> {
    let mut largest = 0;
    for program in PROGRAMS {
        let stats = node.object.program(program).with_context(|| format!("no program {program}"))?.stats();
        largest = largest.max(stats.verified);
        figures.set(&format!("programs.walked.{program}"), f64::from(stats.verified), 1)?;
    }
    figures.set(LARGEST, f64::from(largest), PROGRAMS.len())
}

fn established(figures: &mut Figures, node: &Node, effort: Effort, case: &str, way: Way) -> Result<()> {
    for (flows, name) in [(1, "1_flow"), (MANY, "100000_flows")] {
        open(node, way, flows)?;
        // Each flow is reported once in five seconds. Of a single one that is nothing; of many it would be most packets
        // here, where each gets a packet or two, and nothing again where they carry traffic.
        node.report(flows == 1)?;
        let mut random = Random(u64::from(flows));
        let packets = move |_| random.below(flows as usize) as u32;
        let (estimate, samples) =
            cost(node, effort, REDIRECT, packets, |flow| node.packet(way, flow, false, ACK))?;
        ensure_fast(node, flows)?;
        figures.set_estimate(&format!("packet.established.{case}.{name}"), estimate, samples)?;
    }
    node.report(true)
}

fn in_a_row(figures: &mut Figures, node: &Node, effort: Effort) -> Result<()> {
    const RUNS: u32 = 1000;
    open(node, Way::HostToPod, 1)?;
    let packet = node.packet(Way::HostToPod, 0, false, ACK);
    let mut samples = Vec::new();
    for _ in 0..effort.turns {
        let [ours, empty] = node.in_a_row(&packet, RUNS)?;
        samples.push(ours - empty);
    }
    ensure_fast(node, 1)?;
    figures.set_estimate(IN_A_ROW, estimate(&samples), samples.len() * RUNS as usize)
}

/// Opens flows and answers them, then lets each carry a packet, so that both directions are decided.
fn open(node: &Node, way: Way, flows: u32) -> Result<()> {
    node.forget()?;
    for flow in 0..flows {
        for (back, flags) in [(false, SYN), (true, SYN | ACK), (false, ACK)] {
            let packet = node.packet(way, flow, back, flags);
            let got = node.run(&packet)?;
            // Answers go to whoever started, the node's own stack included.
            ensure!(
                got == REDIRECT || (got != SHOT && back),
                "{} returned {got} for flow {flow} (back {back}, flags {flags})",
                packet.program
            );
        }
    }
    Ok(())
}

/// The packets went the fast way: no flow was added, and none is of an older generation.
fn ensure_fast(node: &Node, flows: u32) -> Result<()> {
    let epoch = node.object.maps.epoch.get()?;
    let all = node.object.maps.flows.dump()?;
    ensure!(all.len() == flows as usize, "{} flows in the table, {flows} were opened", all.len());
    let old = all.iter().filter(|(_, flow)| flow.epoch != epoch).count();
    ensure!(old == 0, "{old} flows are of an older generation");
    Ok(())
}

/// An established packet beside large tables, over the same beside small ones, in turns.
fn unchanged(figures: &mut Figures, node: &mut Node, effort: Effort) -> Result<()> {
    type Change = fn(&mut Node, bool) -> Result<()>;
    let changes: [(&str, Change); 3] = [
        ("policies_64000", |node, large| node.set_policy_entries(if large { 64_000 } else { 10 })),
        ("identities_100000", |node, large| node.set_identities(100_000, large)),
        ("prefixes_10000", |node, large| node.set_prefixes(10_000, large)),
    ];
    let rounds = if effort.turns > 100 { 15 } else { 3 };
    let effort = Effort { turns: effort.turns / 5, ..effort };
    for (name, change) in changes {
        let (mut large, mut small) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            for (is_large, found) in [(false, &mut small), (true, &mut large)] {
                change(node, is_large)?;
                open(node, Way::PodToPod, 1)?;
                let packet = |_| node.packet(Way::PodToPod, 0, false, ACK);
                found.push(cost(node, effort, REDIRECT, |_| 0, packet)?.0.median);
            }
            change(node, false)?;
        }
        figures.set_ratio(&format!("packet.established.unchanged_by.{name}"), &large, &small)?;
    }
    Ok(())
}

/// First packets: allowed and denied.
fn slow(figures: &mut Figures, node: &mut Node, effort: Effort) -> Result<()> {
    for entries in POLICY_ENTRIES {
        node.set_policy_entries(*entries)?;
        new_flow(figures, node, effort, &format!("policies_{entries}"), Way::PodToPod)?;
        denied(figures, node, effort, &format!("policies_{entries}"))?;
    }
    node.set_policy_entries(1)?;
    node.report(false)?;
    new_flow(figures, node, effort, "unreported", Way::PodToPod)?;
    denied(figures, node, effort, "unreported")?;
    node.report(true)?;
    node.set_identities(100_000, true)?;
    new_flow(figures, node, effort, "identities_100000", Way::PodToRemote)?;
    node.set_identities(100_000, false)?;
    node.set_prefixes(10_000, true)?;
    new_flow(figures, node, effort, "prefixes_10000", Way::PodToWorld)?;
    node.set_prefixes(10_000, false)
}

fn new_flow(figures: &mut Figures, node: &Node, effort: Effort, name: &str, way: Way) -> Result<()> {
    node.forget()?;
    let packet = |flow| node.packet(way, flow, false, SYN);
    let (estimate, samples) = cost(node, effort, REDIRECT, |i| i as u32, packet)?;
    figures.set_estimate(&format!("packet.new_flow.{name}"), estimate, samples)
}

fn denied(figures: &mut Figures, node: &Node, effort: Effort, name: &str) -> Result<()> {
    node.forget()?;
    let (estimate, samples) = cost(node, effort, SHOT, |i| i as u32, |flow| node.denied(flow))?;
    figures.set_estimate(&format!("packet.denied.{name}"), estimate, samples)
}

/// ns that a packet costs above an empty program: `choose` names the flow of the n-th packet.
fn cost(
    node: &Node,
    effort: Effort,
    expected: u32,
    mut choose: impl FnMut(usize) -> u32,
    packet: impl Fn(u32) -> Packet,
) -> Result<(Estimate, usize)> {
    let mut samples = Vec::with_capacity(effort.turns);
    for turn in 0..=effort.turns {
        let numbers = (0..effort.packets).map(|i| choose(turn * effort.packets + i));
        let packets: Vec<Packet> = numbers.map(&packet).collect();
        let program = packets.first().context("no packets")?.program;
        let ours = turn_of(node, Some(program), &packets, |packet| {
            let got = node.run(packet)?;
            ensure!(got == expected, "{program} returned {got}, not {expected}");
            Ok(())
        })?;
        let empty = turn_of(node, None, &packets, |packet| node.run_empty(packet).map(drop))?;
        // The first turn warms up.
        if turn > 0 {
            samples.push(ours - empty);
        }
    }
    Ok((estimate(&samples), samples.len() * effort.packets))
}

/// Mean ns of one run, by the kernel's counters.
fn turn_of(
    node: &Node,
    program: Option<&str>,
    packets: &[Packet],
    run: impl Fn(&Packet) -> Result<()>,
) -> Result<f64> {
    let (time, runs) = node.counted(program)?;
    for packet in packets {
        run(packet)?;
    }
    let (time_after, runs_after) = node.counted(program)?;
    let runs = runs_after - runs;
    ensure!(runs >= packets.len() as u64, "the kernel counted {runs} runs of {}", packets.len());
    Ok((time_after - time) as f64 / runs as f64)
}

/// Both the program and its per-CPU memory stay on one processor; the last, as clients are pinned to the first.
fn pin_to_last_cpu() -> Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(std::thread::available_parallelism().map_or(1, usize::from) - 1);
    rustix::thread::sched_setaffinity(None, &set).context("pinning to a processor")
}
