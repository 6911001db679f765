//! bin/operator
fn main() {}
