//! Loads that run beside a scenario, and the account that each gives of itself at its end.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::cluster::finished;

/// Milliseconds within which a connection has to come about. A packet lost in the handshake would cost 1000 of them and is counted
/// apart, as such: on two cores full of restarting agents, clients may have to wait for the processor.
pub(crate) const PATIENCE: &str = "5000";

/// Starts a load: a command that ends with `probe hold …` or `probe flood …`.
pub(crate) fn start(mut command: Command) -> Result<Child> {
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().context("starting a load")
}

/// What a load saw, for tables of checks. A load that did nothing proves nothing, and never looks well.
pub(crate) struct Account(Value);

impl Account {
    /// Waits for a load's end.
    pub(crate) fn of(load: Child) -> Result<Account> {
        let (_, text) = finished(load)?;
        let line = text.lines().rev().find(|line| line.starts_with('{')).unwrap_or("{}");
        let account =
            serde_json::from_str(line).with_context(|| format!("reading the account of a load: {text}"))?;
        Ok(Account(account))
    }

    fn count(&self, key: &str) -> u64 {
        self.0[key].as_u64().unwrap_or(0)
    }

    fn through_count(&self) -> u64 {
        self.0["outcomes"]["ok"].as_u64().unwrap_or(0)
    }

    /// Connections that `flood` tried to make.
    pub(crate) fn attempts(&self) -> u64 {
        self.count("attempts")
    }

    /// How many of them did not come about, and what became of them.
    pub(crate) fn failed(&self) -> String {
        match (self.attempts(), self.attempts() - self.through_count()) {
            (0, _) => "no attempts".to_owned(),
            (_, 0) => "0".to_owned(),
            (_, failed) => format!("{failed}: {}{}", self.0["outcomes"], self.moments()),
        }
    }

    /// When the first of them failed, UTC, for comparison with logs.
    fn moments(&self) -> String {
        let changes = self.0["changes"].as_array().into_iter().flatten();
        let failing = changes.filter(|change| change["outcome"] != "ok");
        let moment = |change: &Value| {
            let day = change["at_us"].as_u64()? / 1000 % 86_400_000;
            let (hours, minutes, seconds) = (day / 3_600_000, day / 60_000 % 60, day % 60_000);
            Some(format!(" at {hours:02}:{minutes:02}:{:06.3}", seconds as f64 / 1000.0))
        };
        failing.filter_map(moment).take(3).collect()
    }

    /// How many of them came about, though none should.
    pub(crate) fn through(&self) -> String {
        if self.attempts() == 0 { "no attempts".to_owned() } else { self.through_count().to_string() }
    }

    /// How many opening packets were sent again because the first was lost.
    pub(crate) fn lost_openings(&self) -> String {
        self.0["syn_retransmits"].to_string()
    }

    /// When a server was met last, µs since 1970.
    pub(crate) fn last_met(&self, server: &str) -> Option<u64> {
        self.0["servers"][server].as_u64()
    }

    /// How many of the connections that `hold` kept open broke, and how.
    pub(crate) fn broken(&self) -> String {
        if self.count("exchanges") == 0 {
            return "no traffic".to_owned();
        }
        let [failed, resets, timeouts] = ["failed", "resets", "timeouts"].map(|key| self.count(key));
        match failed + resets + timeouts {
            0 => "0".to_owned(),
            all => format!("{all}: {failed} never opened, {resets} reset, {timeouts} silent"),
        }
    }
}
