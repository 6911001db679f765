//! `cilium-cni`: the network plugin that the container runtime runs for every pod (CNI specification 0.1.0 to 1.1.0).
//!
//! It asks the agent for addresses, makes the devices itself, and lets the agent put programs and policy on them. All it
//! knows comes from the environment and standard input; all it says goes to standard output as one JSON object.
//!
//! Deliberately absent: delegated IPAM, threads of a runtime. It must start in a millisecond.

mod add;
mod agent;
mod chained;
mod check;
mod config;
mod del;
mod failure;
mod gc;
mod invocation;
mod log;
mod pod;
mod result;
mod version;

use config::NetConf;
use failure::{Code, Failure};
use invocation::{Command, Invocation};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::process::ExitCode;
use version::Version;

/// Longest network configuration that is read, bytes.
const MAX_CONFIG: u64 = 1 << 20;

fn main() -> ExitCode {
    let mut version = Version::NEWEST;
    let (answer, code) = match run(&mut version) {
        Ok(answer) => (answer, ExitCode::SUCCESS),
        Err(failure) => (Some(failure.to_json(version)), ExitCode::FAILURE),
    };
    if let Some(answer) = answer {
        let mut out = std::io::stdout().lock();
        // The runtime that started us has gone away: there is nobody left to tell.
        let _ = writeln!(out, "{answer:#}").and_then(|()| out.flush());
    }
    code
}

/// `version` becomes that of the configuration as soon as it is known, so that an error is told in the same.
fn run(version: &mut Version) -> Result<Option<Value>, Failure> {
    let command = Command::from_env()?;
    let text = read_config()?;
    if command == Command::Version {
        return version_answer(&text, version);
    }
    let config = NetConf::parse(&text, version)?;
    command.check_version(config.version)?;
    let log = log::Log::new(&config, command);
    let result = dispatch(command, &config);
    log.outcome(&result);
    result
}

fn dispatch(command: Command, config: &NetConf) -> Result<Option<Value>, Failure> {
    match command {
        Command::Add if config.is_behind() => chained::add(config, &Invocation::from_env(true)?).map(Some),
        Command::Add => add::add(config, &Invocation::from_env(true)?).map(Some),
        Command::Del => del::del(config, &Invocation::from_env(false)?).map(|()| None),
        Command::Check => check::check(config, &Invocation::from_env(true)?).map(|()| None),
        Command::Status => agent::Agent::from_env().status().map(|()| None),
        Command::Gc => gc::collect(config).map(|()| None),
        // Answered before the configuration is parsed.
        Command::Version => Ok(None),
    }
}

fn read_config() -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    std::io::stdin().take(MAX_CONFIG + 1).read_to_end(&mut text).map_err(|error| {
        Failure::new(Code::Io, "cannot read the network configuration from standard input").because(&error)
    })?;
    if text.len() as u64 > MAX_CONFIG {
        return Err(Failure::new(
            Code::Decode,
            format!("the network configuration is longer than {MAX_CONFIG} bytes"),
        ));
    }
    Ok(text)
}

/// VERSION: the configuration may be empty or hold nothing but `cniVersion`.
fn version_answer(text: &[u8], version: &mut Version) -> Result<Option<Value>, Failure> {
    let asked = if text.iter().all(u8::is_ascii_whitespace) {
        Version::NEWEST.to_string()
    } else {
        let value: Value = serde_json::from_slice(text).map_err(config::not_json)?;
        value.get("cniVersion").and_then(Value::as_str).unwrap_or(Version::OLDEST.text()).to_owned()
    };
    *version = Version::parse(&asked).unwrap_or(Version::NEWEST);
    Ok(Some(json!({ "cniVersion": asked, "supportedVersions": Version::ALL.map(Version::text) })))
}
