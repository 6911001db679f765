//! crates/ipam
