//! bin/cni
fn main() {}
