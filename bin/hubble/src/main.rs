//! bin/hubble
fn main() {}
