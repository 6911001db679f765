//! crates/datapath
