//! crates/kube-watch
