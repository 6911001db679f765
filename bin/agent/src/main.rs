//! bin/agent
fn main() {}
