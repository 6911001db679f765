//! Random policies, pods and packets, the agent's tables for them, and a literal reader of the API's text.
//!
//! The same seeds are judged in the simulator (`tests/generator.rs`) and in the kernel (`tests/kernel/tests/policies.rs`).

pub mod cluster;
pub mod naive;
pub mod random;
pub mod written;

/// Packets judged under one set of policies.
pub const PACKETS: u64 = 50;

/// A number from the environment.
pub fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
