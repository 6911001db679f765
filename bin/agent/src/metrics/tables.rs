//! The kernel's tables: how full, how often written, and what packets they counted.

use std::collections::BTreeMap;

use abi::DropReason;
use abi::maps::Counter;
use loader::Object;
use metrics::{Kind, Page};
use reconcile::Report;

use super::Sweeps;

/// Packets and bytes that went through, and those that were dropped, by reason.
pub(super) fn packets(page: &mut Page, object: &Object) {
    let counters = match object.maps.metrics.sums() {
        Ok(counters) => counters,
        Err(error) => return tracing::warn!(error = crate::text(&error), "packets cannot be counted"),
    };
    let of = |code: usize, direction: usize| counters.get(code * 2 + direction).copied().unwrap_or_default();
    let directions = ["INGRESS", "EGRESS"];
    for (part, unit) in [("count", "packets"), ("bytes", "bytes")] {
        let value = |counter: &Counter| if part == "count" { counter.packets } else { counter.bytes };
        let (name, help) = (format!("cilium_forward_{part}_total"), format!("Forwarded {unit} by direction"));
        let mut samples = page.metric(&name, Kind::Counter, &help);
        for (bit, direction) in directions.iter().enumerate() {
            samples.add(&[("direction", direction)], value(&of(0, bit)) as f64);
        }
        let (name, help) =
            (format!("cilium_drop_{part}_total"), format!("Dropped {unit} by reason and direction"));
        let mut samples = page.metric(&name, Kind::Counter, &help);
        for code in 1..=u8::MAX {
            let known = DropReason::from_code(code);
            for (bit, direction) in directions.iter().enumerate() {
                let counter = of(usize::from(code), bit);
                // The reason that alerts are about is there before it happens.
                if counter.packets > 0 || known == Some(DropReason::PolicyDenied) {
                    let reason = known.map_or("Unknown", DropReason::text);
                    samples.add(&[("reason", reason), ("direction", direction)], value(&counter) as f64);
                }
            }
        }
    }
    match object.maps.lost.sum(0) {
        Ok(lost) => {
            page.counter("cilium_events_lost_total", "Events that found no room in the ring", lost as f64)
        }
        Err(error) => tracing::warn!(error = crate::text(&error), "lost events cannot be counted"),
    }
}

/// Writes to tables, how full they are, and what sweeps found.
pub(super) fn write(
    page: &mut Page,
    operations: &BTreeMap<&'static str, Report>,
    fill: &[(&'static str, usize, usize)],
    sweeps: &Sweeps,
) {
    let mut samples =
        page.metric("cilium_bpf_map_ops_total", Kind::Counter, "Writes to the kernel's tables by outcome");
    for (map, report) in operations {
        for (operation, outcome, count) in [
            ("update", "success", report.upserted),
            ("delete", "success", report.deleted),
            ("update", "fail", report.failed),
        ] {
            let labels = [("map_name", *map), ("operation", operation), ("outcome", outcome)];
            samples.add(&labels, count as f64);
        }
    }
    let stats = &sweeps.last;
    let swept = [
        ("AX_FLOWS", stats.flows),
        ("AX_HALFOPEN", stats.half_open),
        ("AX_NAT", stats.nat),
        ("AX_NATOPEN", stats.nat_half_open),
    ];
    let of_swept = swept.iter().filter(|(_, stats)| stats.capacity > 0);
    let of_swept = of_swept.map(|(map, stats)| (*map, stats.alive, stats.capacity));
    let all: Vec<_> = fill.iter().copied().chain(of_swept).filter(|(.., capacity)| *capacity > 0).collect();
    let mut samples = page.metric("cilium_bpf_map_pressure", Kind::Gauge, "Share of a table in use, 0 to 1");
    for (map, used, capacity) in &all {
        samples.add(&[("map_name", map)], *used as f64 / *capacity as f64);
    }
    let mut samples = page.metric("cilium_bpf_map_capacity", Kind::Gauge, "Entries that a table can hold");
    for (map, _, capacity) in &all {
        samples.add(&[("map_name", map)], *capacity as f64);
    }
    let help = "Sweeps of the tables of flows by outcome";
    let mut samples = page.metric("cilium_datapath_conntrack_gc_runs_total", Kind::Counter, help);
    samples.add(&[("status", "completed")], sweeps.runs as f64);
    samples.add(&[("status", "uncompleted")], sweeps.failed as f64);
    let help = "Entries that the last sweep left and deleted";
    let mut samples = page.metric("cilium_datapath_conntrack_gc_entries", Kind::Gauge, help);
    for (map, stats) in &swept {
        samples.add(&[("map_name", map), ("status", "alive")], stats.alive as f64);
        samples.add(&[("map_name", map), ("status", "deleted")], stats.deleted as f64);
    }
    let took = sweeps.took.as_secs_f64();
    page.gauge("cilium_datapath_conntrack_gc_duration_seconds", "How long the last sweep took", took);
}
