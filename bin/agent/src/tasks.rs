//! Background tasks. Each is a future that runs until the agent stops; the application owns them all.

pub(crate) mod cni_conf;
pub(crate) mod drop_events;
pub(crate) mod events;
pub(crate) mod garbage;
pub(crate) mod hubble;
pub(crate) mod hubble_metrics;
pub(crate) mod links;
pub(crate) mod namespaces;
pub(crate) mod watches;
pub(crate) mod writers;
