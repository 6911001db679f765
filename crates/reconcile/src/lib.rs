//! crates/reconcile
