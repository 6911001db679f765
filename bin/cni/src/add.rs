//! ADD.

use crate::agent::Agent;
use crate::config::NetConf;
use crate::failure::{Code, Failure};
use crate::invocation::Invocation;
use crate::pod::{self, Devices};
use crate::result;
use api::cni::{AllocateRequest, AllocateResponse, AttachRequest, ForeignLink};
use netlink::{NetNs, Netlink};
use serde_json::Value;
use std::thread;

/// Connects a pod. Whatever fails, nothing is left behind; whatever an earlier try left behind is no obstacle.
pub(crate) fn add(config: &NetConf, invocation: &Invocation) -> Result<Value, Failure> {
    let agent = Agent::from_env();
    let namespace = pod::open_namespace(&invocation.netns)?;
    let answer = agent.allocate(&request(invocation, None))?;
    let connected = connect(&agent, invocation, &namespace, &answer);
    match connected {
        Ok(devices) => {
            Ok(result::added(config.version, &answer, &devices, &invocation.ifname, &invocation.netns))
        }
        Err(failure) => {
            // The first failure is the one to tell; the runtime's DEL takes care of what cannot be undone now.
            let _ = agent.release(&invocation.container_id, &invocation.ifname);
            Err(failure)
        }
    }
}

/// What the agent is asked for a pod.
pub(crate) fn request(invocation: &Invocation, foreign: Option<ForeignLink>) -> AllocateRequest {
    AllocateRequest {
        container_id: invocation.container_id.clone(),
        ifname: invocation.ifname.clone(),
        netns: invocation.netns.clone(),
        namespace: invocation.namespace.clone(),
        pod_name: invocation.pod_name.clone(),
        pod_uid: invocation.pod_uid.clone(),
        foreign,
    }
}

fn connect(
    agent: &Agent,
    invocation: &Invocation,
    namespace: &NetNs,
    answer: &AllocateResponse,
) -> Result<Devices, Failure> {
    if answer.ipv4.is_none() && answer.ipv6.is_none() {
        return Err(Failure::new(Code::Refused, "the agent gave the pod no address"));
    }
    let mut host = Netlink::open().map_err(|error| pod::kernel(&error))?;
    let devices = pod::create(&mut host, answer, &invocation.ifname, namespace)?;
    let attach = AttachRequest {
        endpoint_id: answer.endpoint_id,
        container_id: invocation.container_id.clone(),
        ifname: invocation.ifname.clone(),
        host_ifname: answer.host_ifname.clone(),
        host_ifindex: devices.host_ifindex,
        host_mac: devices.host_mac,
        mac: devices.mac,
    };
    // The agent writes its maps while the addresses are set: no process of the pod runs before both are done.
    let (inside, attached) = thread::scope(|scope| {
        let inside = scope.spawn(|| pod::configure(namespace, answer, &invocation.ifname, &devices));
        let attached = agent.attach(&attach);
        let panicked = || Err(Failure::new(Code::Io, "setting up the pod's interface panicked"));
        (inside.join().unwrap_or_else(|_| panicked()), attached)
    });
    match inside.and(attached) {
        Ok(_) => Ok(devices),
        Err(failure) => {
            let _ = host.delete_link(&answer.host_ifname);
            Err(failure)
        }
    }
}
