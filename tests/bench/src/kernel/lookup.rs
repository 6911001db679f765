//! The same packet beside small and large policy tables, in turns: the first of a connection, which asks policy, one that
//! policy denies, and one of a connection that was decided.

use anyhow::{Context, Result, anyhow, ensure};

use super::node::{ACK, Node, REDIRECT, SHOT, SYN, Way};
use super::{Effort, cost, open, pin_to_last_cpu};
use crate::figure::{Figure, Figures};
use crate::stats::estimate;

/// Prefixes of the figures of this part.
pub(crate) const PREFIXES: &[&str] = &["lookup."];

/// Entries of the tables that are compared with one of a single entry.
const SIZES: &[usize] = &[100, 16_000, 64_000];
const PACKETS: [&str; 3] = ["established", "first", "denied"];

/// The figures of this part.
pub(crate) fn figures() -> Vec<Figure> {
    let mut figures = Vec::new();
    for packet in PACKETS {
        figures.push(Figure::lower(format!("lookup.{packet}.entries_1"), "ns").peer(super::OVER_EMPTY));
        for entries in SIZES {
            let name = format!("lookup.{packet}.entries_{entries}_over_1");
            figures.push(Figure::lower(name, "ratio").goal(1.05).peer("the same packet with one entry"));
        }
    }
    figures
}

/// Measures everything of this part: so many rounds of each table beside the smallest.
pub(crate) fn measure(figures: &mut Figures, rounds: usize, effort: Effort) -> Result<()> {
    let _counting = loader::testrun::count_run_time().context("having the kernel count run times")?;
    // Namespaces belong to a thread.
    let outcome = std::thread::scope(|scope| scope.spawn(|| inside(figures, rounds, effort)).join());
    outcome.map_err(|_| anyhow!("a thread of the measurement panicked"))?
}

fn inside(figures: &mut Figures, rounds: usize, effort: Effort) -> Result<()> {
    let mut node = Node::new(false)?;
    pin_to_last_cpu()?;
    // Reports cost what they cost whatever the table.
    node.report(false)?;
    for entries in SIZES {
        // By kind of packet: beside the large table, beside that of one entry.
        let mut seen = [const { (Vec::new(), Vec::new()) }; PACKETS.len()];
        for _ in 0..rounds {
            for large in [false, true] {
                node.set_entries_for_the_world(if large { *entries } else { 1 })?;
                for ((big, small), packet) in seen.iter_mut().zip(PACKETS) {
                    let ns = one(&node, effort, packet)?;
                    if large { big.push(ns) } else { small.push(ns) }
                }
            }
        }
        for ((big, small), packet) in seen.iter().zip(PACKETS) {
            figures.set_ratio(&format!("lookup.{packet}.entries_{entries}_over_1"), big, small)?;
            if *entries == SIZES[0] {
                figures.set_estimate(&format!("lookup.{packet}.entries_1"), estimate(small), small.len())?;
            }
        }
    }
    Ok(())
}

/// ns of a packet above an empty program.
fn one(node: &Node, effort: Effort, packet: &str) -> Result<f64> {
    let way = Way::PodToWorld;
    node.forget()?;
    let (estimate, _) = match packet {
        "established" => {
            open(node, way, 1)?;
            cost(node, effort, REDIRECT, |_| 0, |flow| node.packet(way, flow, false, ACK))?
        }
        "first" => cost(node, effort, REDIRECT, |i| i as u32, |flow| node.packet(way, flow, false, SYN))?,
        _ => cost(node, effort, SHOT, |i| i as u32, |flow| node.denied(flow))?,
    };
    ensure!(estimate.median.is_finite(), "no packet was measured");
    Ok(estimate.median)
}
