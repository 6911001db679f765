//! DEL: works whatever is left of the pod, and without the agent.

use crate::agent::Agent;
use crate::config::{NetConf, host_interfaces};
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::pod::{self, HOST_PREFIX};
use netlink::Netlink;

/// Disconnects a pod. Done before, in part or never: all the same.
pub(crate) fn del(config: &NetConf, invocation: &Invocation) -> Result<(), Failure> {
    let theirs = invocation.netns.is_empty() || config.is_behind();
    let removed = if theirs { Ok(()) } else { pod::remove(&invocation.netns, &invocation.ifname) };
    // The namespace may be out of reach and yet alive, held by a process: then the host's end is still there.
    let mut outside = config.previous.iter().flat_map(host_interfaces);
    if let Some(name) = outside.find(|name| name.starts_with(HOST_PREFIX)) {
        let mut host = Netlink::open().map_err(|error| pod::kernel(&error))?;
        host.delete_link(name).map_err(|error| pod::kernel(&error))?;
    }
    Agent::from_env().release(&invocation.container_id, &invocation.ifname)?;
    removed
}
