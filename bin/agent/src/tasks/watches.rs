//! What the agent reads from the API server.

use agent_core::{Change, Input, kube};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube_api::{
    CiliumCIDRGroup, CiliumClusterwideNetworkPolicy, CiliumEndpoint, CiliumIdentity, CiliumNetworkPolicy,
    CiliumNode, ClusterNetworkPolicy,
};
use kube_watch::{Clients, WatchSpec, Watched};
use types::PolicyKind;

use crate::config::Config;
use crate::convert::{self, ApiServers};
use crate::owner::{Handle, Message};

/// The watches to run, and a view of the state of each.
pub(crate) struct Watches {
    /// To be run until the owner is gone.
    pub futures: Vec<BoxFuture<'static, ()>>,
    /// How each is doing.
    pub views: Vec<Watched>,
}

/// Sets up all watches; nothing is asked before they run.
pub(crate) fn all(clients: &Clients, config: &Config, handle: &Handle) -> Watches {
    let mut watches = Watches { futures: Vec::new(), views: Vec::new() };
    let everything = WatchSpec::default;
    let of_node = WatchSpec::fields(format!("spec.nodeName={}", config.node_name));
    watches.add(clients, handle, of_node, |batch| {
        inputs(convert::changes::<Pod, _>(batch, kube::pod, convert::pod_key), Input::Pods)
    });
    watches.add(clients, handle, everything(), |batch| {
        inputs(convert::changes::<Namespace, _>(batch, kube::namespace, convert::name), Input::Namespaces)
    });
    watches.add(clients, handle, everything(), |batch| {
        inputs(convert::changes::<CiliumNode, _>(batch, kube::node, convert::name), Input::Nodes)
    });
    watches.add(clients, handle, everything(), |batch| {
        inputs(
            convert::changes::<CiliumEndpoint, _>(batch, kube::endpoint, convert::pod_key),
            Input::Endpoints,
        )
    });
    watches.add(clients, handle, everything(), |batch| {
        inputs(
            convert::changes::<CiliumIdentity, _>(batch, kube::identity, convert::number),
            Input::Identities,
        )
    });
    if config.host_firewall {
        let this = WatchSpec::fields(format!("metadata.name={}", config.node_name));
        watches.add(clients, handle, this, convert::node_labels);
    }
    watches.policies(clients, config, handle);
    watches.files(config, handle);
    watches.named_by_policies(clients, handle);
    let servers = ApiServers::default();
    let slices = WatchSpec {
        fields: Some("metadata.namespace=default".to_owned()),
        labels: Some("kubernetes.io/service-name=kubernetes".to_owned()),
    };
    watches.add(clients, handle, slices, move |batch| {
        servers.change(batch as Vec<kube_watch::Change<EndpointSlice>>)
    });
    watches
}

impl Watches {
    fn policies(&mut self, clients: &Clients, config: &Config, handle: &Handle) {
        self.add(clients, handle, WatchSpec::default(), |batch| {
            convert::policies(PolicyKind::Cnp, batch, kube::cilium_policy::<CiliumNetworkPolicy>)
        });
        self.add(clients, handle, WatchSpec::default(), |batch| {
            convert::policies(PolicyKind::Ccnp, batch, kube::cilium_policy::<CiliumClusterwideNetworkPolicy>)
        });
        if config.network_policy {
            self.add(clients, handle, WatchSpec::default(), |batch| {
                convert::policies(PolicyKind::Knp, batch, |p: &NetworkPolicy| kube::network_policy(p))
            });
        } else {
            self.none(handle, PolicyKind::Knp);
        }
        if config.cluster_network_policy {
            self.add(clients, handle, WatchSpec::default(), |batch| {
                convert::policies(PolicyKind::Cluster, batch, |p: &ClusterNetworkPolicy| {
                    kube::cluster_policy(p)
                })
            });
        } else {
            self.none(handle, PolicyKind::Cluster);
        }
    }

    /// Policies from files, if there are to be such.
    fn files(&mut self, config: &Config, handle: &Handle) {
        match config.policy_files.clone() {
            Some(folder) => {
                self.futures.push(Box::pin(crate::policy_files::run(folder, handle.clone())));
            }
            None => self.none(handle, PolicyKind::File),
        }
    }

    /// What policies may name: groups of blocks, services, and addresses that no controller listed for them.
    fn named_by_policies(&mut self, clients: &Clients, handle: &Handle) {
        self.add(clients, handle, WatchSpec::default(), |batch| {
            let read = |group: CiliumCIDRGroup| {
                let (group, complaints) = kube_api::cidr_group(&group);
                for complaint in complaints {
                    tracing::warn!(complaint, "part of a group does not count");
                }
                Some(group)
            };
            inputs(convert::changes(batch, read, convert::name), Input::CidrGroups)
        });
        self.add(clients, handle, WatchSpec::default(), |batch| {
            inputs(
                convert::changes(batch, |s: Service| Some(kube_api::named_service(&s)), convert::object_name),
                Input::Services,
            )
        });
        let by_hand = WatchSpec {
            labels: Some(
                "endpointslice.kubernetes.io/managed-by!=endpointslice-controller.k8s.io".to_owned(),
            ),
            ..WatchSpec::default()
        };
        self.add(clients, handle, by_hand, |batch| {
            let read = |slice: EndpointSlice| kube_api::address_list(&slice);
            let changes = convert::changes(batch, read, convert::object_name);
            inputs(changes, Input::AddressLists)
        });
    }

    /// There are no policies of this kind.
    fn none(&mut self, handle: &Handle, kind: PolicyKind) {
        let queue = handle.queue();
        let none = Message::Learned(vec![Input::Policies(kind, Change::Reset(Vec::new()))]);
        self.futures.push(Box::pin(async move {
            // The owner is gone only when the agent stops.
            let _ = queue.send(none).await;
            std::future::pending().await
        }));
    }

    fn add<K>(
        &mut self,
        clients: &Clients,
        handle: &Handle,
        spec: WatchSpec,
        read: impl Fn(Vec<kube_watch::Change<K>>) -> Vec<Input> + Send + 'static,
    ) where
        K: kube_watch::Watchable,
    {
        let (view, future) = clients.watch(spec, handle.queue(), move |batch| Message::Learned(read(batch)));
        self.views.push(view);
        self.futures.push(Box::pin(future));
    }
}

fn inputs<T: agent_core::Keyed>(changes: Vec<Change<T>>, wrap: impl Fn(Change<T>) -> Input) -> Vec<Input> {
    changes.into_iter().map(wrap).collect()
}
