//! crates/observer
