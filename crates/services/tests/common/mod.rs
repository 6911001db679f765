//! A kernel in memory, and scripts that read like the objects they stand for.
#![allow(dead_code, unused_imports, unreachable_pub, reason = "each test binary uses a part of it")]
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

pub mod generate;
pub mod kernel;
pub mod naive;
pub mod script;

pub use kernel::Kernel;
pub use script::{Harness, check, check_with};

/// One second of the clock.
pub const SECOND: u64 = 1_000_000_000;
