//! crates/flow
