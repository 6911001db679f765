use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::Settings;
use crate::model::Node;

/// How the node's own stack reaches a prefix of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Pods of this node: through `cilium_host`, via the router's address of that family.
    Local {
        /// The router's address, next hop and preferred source.
        router: IpAddr,
    },
    /// Pods of another node: through `cilium_host` and from there into the tunnel.
    Tunnel {
        /// The router's address, next hop and preferred source.
        router: IpAddr,
    },
    /// Pods of another node: via that node's underlay address, which must be a neighbour.
    Direct {
        /// Underlay address of the node.
        node: IpAddr,
    },
}

/// The routes this node wants, given itself, the others, and the addresses of its pods that other plugins gave: packets
/// to these have to pass `cilium_host`, whatever broader route the other plugin has.
pub(crate) fn wanted<'a>(
    settings: &Settings,
    nodes: impl Iterator<Item = &'a Node>,
    foreign: impl Iterator<Item = IpAddr>,
) -> BTreeMap<IpNet, Route> {
    let router = |prefix: &IpNet| {
        settings.node.routers.iter().copied().find(|r| r.is_ipv4() == prefix.addr().is_ipv4())
    };
    let foreign: Vec<IpNet> = foreign.map(IpNet::from).collect();
    let local = settings.node.pod_cidrs.iter().chain(&foreign);
    let own = local.filter_map(|p| Some((*p, Route::Local { router: router(p)? })));
    let mut routes: BTreeMap<IpNet, Route> = own.collect();
    for node in nodes.filter(|n| n.name != settings.node.name) {
        for prefix in node.pod_cidrs.iter().filter(|p| settings.has_family(p.addr())) {
            let route = if settings.tunnel {
                router(prefix).map(|router| Route::Tunnel { router })
            } else if settings.direct_routes {
                node.underlay_for(prefix.addr()).map(|node| Route::Direct { node })
            } else {
                None
            };
            if let Some(route) = route {
                // This node's own prefix is never given to another, whatever the objects say.
                routes.entry(*prefix).or_insert(route);
            }
        }
    }
    routes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, underlay: &str, prefix: &str, router: &str) -> Node {
        Node {
            name: name.to_owned(),
            underlay: vec![underlay.parse().expect("literal")],
            routers: vec![router.parse().expect("literal")],
            pod_cidrs: vec![prefix.parse().expect("literal")],
            ..Node::default()
        }
    }

    fn settings(tunnel: bool, direct_routes: bool) -> Settings {
        let node = node("a", "172.31.0.1", "10.0.0.0/24", "10.0.0.1");
        Settings { node, ipv4: true, tunnel, direct_routes, ..Settings::default() }
    }

    #[test]
    fn each_mode_has_its_routes() {
        let nodes = [
            node("a", "172.31.0.1", "10.0.0.0/24", "10.0.0.1"),
            node("b", "172.31.0.2", "10.0.1.0/24", "10.0.1.1"),
        ];
        let remote = |tunnel, direct| {
            let routes = wanted(&settings(tunnel, direct), nodes.iter(), std::iter::empty());
            let router = "10.0.0.1".parse().expect("literal");
            assert_eq!(routes.get(&"10.0.0.0/24".parse().expect("literal")), Some(&Route::Local { router }));
            routes.get(&"10.0.1.0/24".parse().expect("literal")).copied()
        };
        assert_eq!(remote(true, false), Some(Route::Tunnel { router: "10.0.0.1".parse().expect("literal") }));
        assert_eq!(remote(false, true), Some(Route::Direct { node: "172.31.0.2".parse().expect("literal") }));
        assert_eq!(remote(false, false), None);
    }

    #[test]
    fn pods_of_other_plugins_have_a_route_each() {
        let pod = "10.244.1.7".parse().expect("literal");
        let routes = wanted(&settings(false, false), std::iter::empty(), std::iter::once(pod));
        let router = "10.0.0.1".parse().expect("literal");
        assert_eq!(routes.get(&IpNet::from(pod)), Some(&Route::Local { router }));
    }

    #[test]
    fn nobody_takes_this_nodes_prefix() {
        let thief = node("b", "172.31.0.2", "10.0.0.0/24", "10.0.1.1");
        let routes = wanted(&settings(true, false), [thief].iter(), std::iter::empty());
        assert!(matches!(routes.values().next(), Some(Route::Local { .. })) && routes.len() == 1);
    }
}
