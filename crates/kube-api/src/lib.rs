//! crates/kube-api
