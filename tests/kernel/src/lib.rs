//! The two worlds side by side: one node in the kernel's maps and the same in memory, fed the same packets.

pub mod packets;
pub mod pair;
pub mod place;

pub use policy_tests::random;
