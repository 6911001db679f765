//! crates/sim
