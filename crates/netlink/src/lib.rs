//! crates/netlink
