//! bin/dbg
fn main() {}
