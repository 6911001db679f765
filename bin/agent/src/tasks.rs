//! Background tasks. Each is a future that runs until the agent stops; the application owns them all.

pub mod events;
pub mod garbage;
pub mod links;
pub mod watches;
pub mod writers;
