//! Measurements: latency, new connections, throughput.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use serde::Serialize;

use crate::Output;
use crate::socket::{connect_from, reset_on_close};

const LIMIT: Duration = Duration::from_secs(5);

/// What was measured; times in microseconds.
#[derive(Serialize)]
pub(crate) struct Figures {
    seconds: f64,
    /// Round trips, connections or writes.
    count: u64,
    /// The same a second.
    per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    p50_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p90_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p99_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_us: Option<f64>,
    /// Of it until the connection stood (crr).
    #[serde(skip_serializing_if = "Option::is_none")]
    connect_p50_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connect_p99_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gbit_per_second: Option<f64>,
    /// Attempts that failed.
    errors: u64,
}

impl Figures {
    fn from_samples(elapsed: Duration, mut nanos: Vec<u64>, errors: u64) -> Self {
        nanos.sort_unstable();
        let at = |q| quantile(&nanos, q);
        let (p50_us, p90_us, p99_us, max_us) = (at(0.5), at(0.9), at(0.99), at(1.0));
        let (seconds, count) = (elapsed.as_secs_f64(), nanos.len() as u64);
        let per_second = count as f64 / seconds;
        Self {
            seconds,
            count,
            per_second,
            p50_us,
            p90_us,
            p99_us,
            max_us,
            connect_p50_us: None,
            connect_p99_us: None,
            gbit_per_second: None,
            errors,
        }
    }

    /// Prints it; false if nothing was measured.
    pub(crate) fn print(&self, output: Output) -> Result<bool> {
        match output {
            Output::Json => println!("{}", serde_json::to_string(self)?),
            Output::Text => {
                print!("{} in {:.1} s: {:.0}/s", self.count, self.seconds, self.per_second);
                if let (Some(p50), Some(p99), Some(max)) = (self.p50_us, self.p99_us, self.max_us) {
                    print!(", p50 {p50:.1} µs, p99 {p99:.1} µs, max {max:.1} µs");
                }
                if let (Some(p50), Some(p99)) = (self.connect_p50_us, self.connect_p99_us) {
                    print!(", connect p50 {p50:.1} µs, p99 {p99:.1} µs");
                }
                if let Some(rate) = self.gbit_per_second {
                    print!(", {rate:.2} Gbit/s");
                }
                println!(", {} errors", self.errors);
            }
        }
        Ok(self.count > 0)
    }
}

/// The value of sorted samples below which a part `q` of them lies, in microseconds.
fn quantile(sorted: &[u64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    Some(sorted[(last as f64 * q).round() as usize] as f64 / 1000.0)
}

/// `size` bytes there and back, over and over.
pub(crate) fn rr(to: SocketAddr, time: Duration, size: usize) -> Result<Figures> {
    ensure!(size > 0, "--size 0: nothing to send");
    let mut stream = connect_from(to, None, LIMIT).with_context(|| format!("cannot connect to {to}"))?;
    let (message, mut answer) = (vec![b'e'; size], vec![0; size]);
    let mut samples = Vec::with_capacity(1 << 20);
    let start = Instant::now();
    let mut before = start;
    while before - start < time {
        stream.write_all(&message).context("connection lost")?;
        stream.read_exact(&mut answer).context("connection lost")?;
        let now = Instant::now();
        samples.push(nanos(now - before));
        before = now;
    }
    Ok(Figures::from_samples(before - start, samples, 0))
}

/// Connection after connection, each with one byte there and back, each from the next source port, each ended by a
/// reset so that no TIME_WAIT is in the way.
pub(crate) fn crr(to: SocketAddr, time: Duration, ports: RangeInclusive<u16>) -> Result<Figures> {
    ensure!(!ports.is_empty(), "--ports: the first is above the last");
    let (mut samples, mut connects) = (Vec::with_capacity(1 << 18), Vec::with_capacity(1 << 18));
    let mut errors = 0;
    let start = Instant::now();
    let mut before = start;
    for port in ports.cycle_forever() {
        if before - start >= time {
            break;
        }
        match one_connection(to, port) {
            Ok(connected) => {
                samples.push(nanos(before.elapsed()));
                connects.push(nanos(connected - before));
            }
            Err(_) => errors += 1,
        }
        before = Instant::now();
    }
    connects.sort_unstable();
    Ok(Figures {
        connect_p50_us: quantile(&connects, 0.5),
        connect_p99_us: quantile(&connects, 0.99),
        ..Figures::from_samples(before - start, samples, errors)
    })
}

/// When the connection stood; it has carried a byte and is reset since.
fn one_connection(to: SocketAddr, port: u16) -> Result<Instant> {
    let mut stream = match connect_from(to, Some(port), LIMIT) {
        // The port is somebody else's: not what is measured here, take any other.
        Err(Errno::EADDRINUSE) => connect_from(to, None, LIMIT)?,
        other => other?,
    };
    let connected = Instant::now();
    stream.write_all(b"e")?;
    stream.read_exact(&mut [0])?;
    reset_on_close(&stream)?;
    Ok(connected)
}

trait CycleForever {
    fn cycle_forever(self) -> impl Iterator<Item = u16>;
}

impl CycleForever for RangeInclusive<u16> {
    fn cycle_forever(self) -> impl Iterator<Item = u16> {
        std::iter::repeat(self).flatten()
    }
}

/// Writes of `size` bytes to a server that swallows them.
pub(crate) fn stream(to: SocketAddr, time: Duration, size: usize) -> Result<Figures> {
    ensure!(size > 0, "--size 0: nothing to send");
    let mut stream = connect_from(to, None, LIMIT).with_context(|| format!("cannot connect to {to}"))?;
    let message = vec![b's'; size];
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < time {
        stream.write_all(&message).context("connection lost")?;
        count += 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    let gbit_per_second = Some(count as f64 * size as f64 * 8.0 / seconds / 1e9);
    let per_second = count as f64 / seconds;
    Ok(Figures {
        seconds,
        count,
        per_second,
        p50_us: None,
        p90_us: None,
        p99_us: None,
        max_us: None,
        connect_p50_us: None,
        connect_p99_us: None,
        gbit_per_second,
        errors: 0,
    })
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_hundred() {
        let samples = (1..=101).map(|n| n * 1000).rev().collect();
        let f = Figures::from_samples(Duration::from_secs(1), samples, 3);
        assert_eq!((f.p50_us, f.p99_us, f.max_us), (Some(51.0), Some(100.0), Some(101.0)));
        assert_eq!((f.count, f.errors), (101, 3));
    }

    #[test]
    fn nothing_measured_has_no_percentiles() {
        assert_eq!(Figures::from_samples(Duration::from_secs(1), vec![], 0).p50_us, None);
    }
}
