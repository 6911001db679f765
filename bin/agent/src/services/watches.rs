//! What the balancer reads from the API server.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube_api::{CiliumLocalRedirectPolicy, CiliumNode, services as read};
use kube_watch::kube::Resource;
use kube_watch::{Clients, Key, WatchSpec, Watchable, Watched};
use services::{ObjectName, Redirect};

use super::{Change, Handle, Input};
use crate::config::Balancing;
use crate::queue::Message;

/// Sets up the watches; nothing is asked before they run.
pub(crate) fn all(
    clients: &Clients,
    node: &str,
    config: &Balancing,
    handle: &Handle,
) -> (Vec<Watched>, Vec<BoxFuture<'static, ()>>) {
    let mut watches = (Vec::new(), Vec::new());
    let proxy_name = config.proxy_name.clone();
    add(&mut watches, clients, handle, not_headless(), move |batch| {
        let services = |service: Service| {
            let (service, complaints) = read::service(&service, &proxy_name);
            for complaint in complaints {
                tracing::warn!(complaint, "part of a service does not count");
            }
            Some(service)
        };
        changes(batch, services).into_iter().map(Input::Services).collect()
    });
    add(&mut watches, clients, handle, not_headless(), |batch| {
        let slices = |slice: EndpointSlice| read::slice(&slice);
        changes(batch, slices).into_iter().map(Input::Slices).collect()
    });
    add(&mut watches, clients, handle, WatchSpec::default(), |batch| {
        let nodes = |node: CiliumNode| agent_core::kube::node(node);
        changes(batch, nodes).into_iter().map(Input::Nodes).collect()
    });
    let of_node = WatchSpec::fields(format!("spec.nodeName={node}"));
    // Beside kube-proxy host ports are not ours.
    let (replaces, redirects) = (config.replaces, config.redirects);
    add(&mut watches, clients, handle, of_node, move |batch| {
        let local =
            if redirects { changes(batch.clone(), |pod: Pod| read::local_pod(&pod)) } else { Vec::new() };
        let ports = |pod: Pod| if replaces { read::pod_ports(&pod) } else { None };
        let ports = changes(batch, ports).into_iter().map(Input::Pods);
        local.into_iter().map(Input::LocalPods).chain(ports).collect()
    });
    if redirects {
        add(&mut watches, clients, handle, WatchSpec::default(), |batch| {
            changes(batch, redirect).into_iter().map(Input::Redirects).collect()
        });
    }
    let this = WatchSpec::fields(format!("metadata.name={node}"));
    add(&mut watches, clients, handle, this, |batch| {
        let last = |change| match change {
            kube_watch::Change::Apply(node) => Some(labels(node)),
            kube_watch::Change::Reset(nodes) => {
                Some(nodes.into_iter().next().map(labels).unwrap_or_default())
            }
            _ => None,
        };
        batch.into_iter().filter_map(last).map(Input::NodeLabels).collect()
    });
    watches
}

fn labels(node: Node) -> BTreeMap<String, String> {
    node.metadata.labels.unwrap_or_default()
}

/// A policy that asks for what it may not have is as good as none.
fn redirect(policy: CiliumLocalRedirectPolicy) -> Option<Redirect> {
    match read::redirect(&policy) {
        Ok(policy) => Some(policy),
        Err(error) => {
            tracing::warn!(error = kube_api::error::chain(&error), "a local redirect policy is refused");
            None
        }
    }
}

/// Headless services and their slices, often the largest, mean nothing to a load balancer.
fn not_headless() -> WatchSpec {
    WatchSpec { labels: Some("!service.kubernetes.io/headless".to_owned()), ..WatchSpec::default() }
}

fn add<K: Watchable>(
    watches: &mut (Vec<Watched>, Vec<BoxFuture<'static, ()>>),
    clients: &Clients,
    handle: &Handle,
    spec: WatchSpec,
    read: impl Fn(Vec<kube_watch::Change<K>>) -> Vec<Input> + Send + 'static,
) {
    let (view, future) = clients.watch(spec, handle.queue(), move |batch| Message::Learned(read(batch)));
    watches.0.push(view);
    watches.1.push(Box::pin(future));
}

/// A batch of a watch; `read` gives nothing for an object that means nothing.
fn changes<K, T>(batch: Vec<kube_watch::Change<K>>, read: impl Fn(K) -> Option<T>) -> Vec<Change<T>>
where
    K: Resource<DynamicType = ()>,
{
    let step = |change| match change {
        kube_watch::Change::Apply(object) => {
            let name = Key::of(&object);
            read(object).map_or_else(|| Change::Delete(object_name(&name)), Change::Apply)
        }
        kube_watch::Change::Delete(name) => Change::Delete(object_name(&name)),
        kube_watch::Change::Reset(objects) => Change::Reset(objects.into_iter().filter_map(&read).collect()),
        kube_watch::Change::Invalid(invalid) => {
            let kind = K::kind(&());
            tracing::warn!(%kind, object = %invalid.key, error = invalid.error, "an object cannot be read and does not count");
            Change::Delete(object_name(&invalid.key))
        }
    };
    batch.into_iter().map(step).collect()
}

fn object_name(key: &Key) -> ObjectName {
    ObjectName::new(&key.namespace, &key.name)
}
