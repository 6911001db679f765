//! DEL: works whatever is left of the pod, and without the agent.

use crate::agent::Agent;
use crate::config::NetConf;
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::pod::{self, HOST_PREFIX};
use netlink::Netlink;
use serde_json::Value;

/// Disconnects a pod. Done before, in part or never: all the same.
pub(crate) fn del(config: &NetConf, invocation: &Invocation) -> Result<(), Failure> {
    let removed =
        if invocation.netns.is_empty() { Ok(()) } else { pod::remove(&invocation.netns, &invocation.ifname) };
    // The namespace may be out of reach and yet alive, held by a process: then the host's end is still there.
    if let Some(name) = config.previous.as_ref().and_then(host_interface) {
        let mut host = Netlink::open().map_err(|error| pod::kernel(&error))?;
        host.delete_link(name).map_err(|error| pod::kernel(&error))?;
    }
    Agent::from_env().release(&invocation.container_id, &invocation.ifname)?;
    removed
}

/// The host's end in the result of an ADD: the interface outside a sandbox with our kind of name.
fn host_interface(previous: &Value) -> Option<&str> {
    let outside = |interface: &&Value| interface["sandbox"].as_str().is_none_or(str::is_empty);
    previous["interfaces"]
        .as_array()?
        .iter()
        .filter(outside)
        .filter_map(|interface| interface["name"].as_str())
        .find(|name| name.starts_with(HOST_PREFIX))
}
