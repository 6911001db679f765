//! crates/loader
