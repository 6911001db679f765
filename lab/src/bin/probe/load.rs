//! Traffic that goes on while something else happens, and an account of what it suffered.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use serde::Serialize;

use crate::client::{self, Answer};
use crate::socket::connect_from;

/// Account of [`hold`].
#[derive(Default, Serialize)]
struct Held {
    connections: usize,
    /// Connections that never came to be.
    failed: usize,
    /// Bytes that came back.
    exchanges: u64,
    /// Connections that ended by a reset or a close of the other side.
    resets: usize,
    /// Connections on which a byte did not come back in time.
    timeouts: usize,
    /// The longest that a byte took, microseconds.
    max_us: u64,
}

/// Connections are opened so far apart: a burst of them would be a flood, in which a node's tables of openings forget some.
const APART: Duration = Duration::from_millis(2);

/// Keeps connections open, each sending a byte every interval; prints the account as JSON, true if none broke.
pub(crate) fn hold(load: &crate::Load, connections: usize) -> Result<bool> {
    let threads: Vec<_> = (0..connections)
        .map(|_| {
            thread::sleep(APART);
            let (to, limit) = (load.to, Duration::from_millis(load.timeout));
            let (time, interval) =
                (Duration::from_secs_f64(load.seconds), Duration::from_millis(load.interval));
            thread::Builder::new().stack_size(128 << 10).spawn(move || hold_one(to, time, interval, limit))
        })
        .collect::<std::io::Result<_>>()?;
    let mut all = Held { connections, ..Held::default() };
    for thread in threads {
        let one = thread.join().map_err(|_| anyhow!("a connection's thread panicked"))?;
        all.failed += one.failed;
        all.exchanges += one.exchanges;
        all.resets += one.resets;
        all.timeouts += one.timeouts;
        all.max_us = all.max_us.max(one.max_us);
    }
    println!("{}", serde_json::to_string(&all)?);
    Ok(all.failed + all.resets + all.timeouts == 0)
}

fn hold_one(to: std::net::SocketAddr, time: Duration, interval: Duration, limit: Duration) -> Held {
    let mut held = Held::default();
    let Ok(mut stream) = connect_from(to, None, limit) else {
        held.failed = 1;
        return held;
    };
    let start = Instant::now();
    while start.elapsed() < time {
        let before = Instant::now();
        let done = stream.write_all(b"e").and_then(|()| stream.read_exact(&mut [0]));
        match done {
            Ok(()) => held.exchanges += 1,
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                held.timeouts = 1;
                break;
            }
            Err(_) => {
                held.resets = 1;
                break;
            }
        }
        held.max_us = held.max_us.max(u64::try_from(before.elapsed().as_micros()).unwrap_or(u64::MAX));
        thread::sleep(interval);
    }
    held
}

/// Account of [`flood`].
#[derive(Default, Serialize)]
struct Flood {
    attempts: u64,
    /// Number of each outcome ("ok", "timeout", "refused", ...).
    outcomes: BTreeMap<String, u64>,
    /// Each time the outcome differed from the one before.
    changes: Vec<ChangedAt>,
    /// SYN and SYN-ACK packets that the sockets of this network namespace had to send again meanwhile (`TcpExtTCPSynRetrans`).
    /// Unlike the time that an attempt took, it tells a lost packet from a busy processor.
    syn_retransmits: u64,
    /// Host names of those who answered, with the start of the last attempt that they did, microseconds since 1970.
    servers: BTreeMap<String, u64>,
}

#[derive(Serialize)]
struct ChangedAt {
    /// Microseconds since 1970, of the attempt's start.
    at_us: u64,
    outcome: String,
}

/// Opens connections one after the other; prints the account as JSON. Always true: what is right depends on the test.
pub(crate) fn flood(load: &crate::Load) -> Result<bool> {
    let (limit, interval) = (Duration::from_millis(load.timeout), Duration::from_millis(load.interval));
    let (start, mut account) = (Instant::now(), Flood::default());
    let before = syn_retransmits()?;
    let mut last = String::new();
    while start.elapsed() < Duration::from_secs_f64(load.seconds) {
        let at_us = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros())?;
        let Answer { outcome, host, .. } = client::connect(load.to, None, false, limit);
        if let Some(host) = host {
            account.servers.insert(host, at_us);
        }
        account.attempts += 1;
        *account.outcomes.entry(outcome.clone()).or_default() += 1;
        if outcome != last {
            account.changes.push(ChangedAt { at_us, outcome: outcome.clone() });
            last = outcome;
        }
        thread::sleep(interval);
    }
    account.syn_retransmits = syn_retransmits()?.saturating_sub(before);
    println!("{}", serde_json::to_string(&account)?);
    Ok(true)
}

/// The counter `TCPSynRetrans` of `/proc/net/netstat`: a line of names, a line of values.
fn syn_retransmits() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/net/netstat").context("reading /proc/net/netstat")?;
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let pair =
        names.split_whitespace().zip(values.split_whitespace()).find(|(name, _)| *name == "TCPSynRetrans");
    let (_, value) = pair.context("/proc/net/netstat has no TCPSynRetrans")?;
    value.parse().context("TCPSynRetrans in /proc/net/netstat")
}
