//! crates/types
