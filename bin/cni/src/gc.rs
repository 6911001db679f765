//! GC: what is attached and no longer valid goes.

use crate::agent::Agent;
use crate::config::{Attachment, NetConf};
use crate::failure::{Code, Failure};
use crate::pod::{self, HOST_PREFIX};
use api::endpoint::Endpoint;
use netlink::Netlink;

/// Releases every attachment that the runtime does not list.
pub(crate) fn collect(config: &NetConf) -> Result<(), Failure> {
    let Some(valid) = &config.valid_attachments else {
        let text = "GC needs \"cni.dev/valid-attachments\" in the network configuration";
        return Err(Failure::new(Code::Config, text));
    };
    let agent = Agent::from_env();
    let mut host = Netlink::open().map_err(|error| pod::kernel(&error))?;
    for (attachment, link) in
        agent.endpoints()?.iter().filter_map(attachment).filter(|(a, _)| !valid.contains(a))
    {
        if link.starts_with(HOST_PREFIX) {
            host.delete_link(link).map_err(|error| pod::kernel(&error))?;
        }
        agent.release(&attachment.container_id, &attachment.ifname)?;
    }
    Ok(())
}

/// The attachment behind an endpoint and its interface on the host; the host's own endpoint has none.
fn attachment(endpoint: &Endpoint) -> Option<(Attachment, &str)> {
    let id = &endpoint.status.external_identifiers.cni_attachment_id;
    let (container_id, ifname) = id.rsplit_once(':')?;
    let attachment = Attachment { container_id: container_id.to_owned(), ifname: ifname.to_owned() };
    Some((attachment, &endpoint.status.networking.interface_name))
}
