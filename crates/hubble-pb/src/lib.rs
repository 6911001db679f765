//! crates/hubble-pb
