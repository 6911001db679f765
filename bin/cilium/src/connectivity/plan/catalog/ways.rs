//! Ways between the places of a test bed, as scenarios.

use super::super::super::objects::TCP;
use super::super::{Action, Facts, Scenario, What};
use std::net::{IpAddr, SocketAddr};

impl Facts<'_> {
    pub(super) fn is_on(&self, setting: &str) -> bool {
        self.settings.get(setting).is_some_and(|value| value == "true")
    }

    /// Why ways between nodes cannot be tried.
    pub(super) fn one_node(&self) -> Option<String> {
        (!self.places.contains_key("echo-b")).then(|| "there is one node only".to_owned())
    }

    /// TCP from a pod to addresses.
    pub(super) fn tcp(
        &self,
        name: &str,
        from: &str,
        to: &str,
        addresses: &[IpAddr],
        port: u16,
        allowed: bool,
    ) -> Scenario {
        let what = |ip: &IpAddr| What::Tcp(SocketAddr::new(*ip, port), false);
        self.each(name, from, to, addresses, what, allowed)
    }

    pub(super) fn each(
        &self,
        name: &str,
        from: &str,
        to: &str,
        addresses: &[IpAddr],
        what: impl Fn(&IpAddr) -> What,
        allowed: bool,
    ) -> Scenario {
        let known = self.places.contains_key(from) && !addresses.is_empty();
        let actions = addresses.iter().filter(|_| known).map(|ip| Action {
            name: if ip.is_ipv4() { "ipv4" } else { "ipv6" }.to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
            what: what(ip),
            allowed,
        });
        let skip = (!known).then(|| self.one_node().unwrap_or_else(|| format!("{to} has no address")));
        Scenario { name: name.to_owned(), actions: actions.collect(), skip }
    }

    /// TCP from a pod to a pod.
    pub(super) fn pod(&self, name: &str, from: &str, to: &str, allowed: bool) -> Scenario {
        self.tcp(name, from, &format!("{}/{to}", self.namespace), self.of(to), TCP, allowed)
    }

    pub(super) fn of(&self, pod: &str) -> &[IpAddr] {
        self.places.get(pod).map_or(&[], |place| &place.addresses)
    }

    /// TCP to the address of a service.
    pub(super) fn service(&self, name: &str, from: &str, service: &str) -> Scenario {
        let addresses = self.services.get(service).map_or(&[][..], |(addresses, _)| addresses);
        self.tcp(name, from, &format!("service {service}"), addresses, TCP, true)
    }

    /// TCP to what the name of a service leads to.
    pub(super) fn headless(&self, name: &str, from: &str, service: &str) -> Scenario {
        let full = format!("{service}.{}.svc.cluster.local", self.namespace);
        let action = Action {
            name: "dns".to_owned(),
            from: from.to_owned(),
            to: full.clone(),
            what: What::Name(full, TCP),
            allowed: true,
        };
        let no_dns = (!self.dns).then(|| "the cluster has no DNS (service kube-system/kube-dns)".to_owned());
        let skip = self.one_node().or(no_dns);
        Scenario {
            name: name.to_owned(),
            actions: if skip.is_some() { Vec::new() } else { vec![action] },
            skip,
        }
    }

    /// TCP to the service's port on every node of the test.
    pub(super) fn node_port(&self, name: &str, from: &str, service: &str) -> Scenario {
        let port = self.services.get(service).and_then(|(_, port)| *port);
        let mut scenario = Scenario { name: name.to_owned(), skip: self.one_node(), ..Scenario::default() };
        let Some(port) = port else { return scenario };
        let mut nodes: Vec<&str> = self.places.values().map(|place| place.node.as_str()).collect();
        nodes.sort_unstable();
        nodes.dedup();
        for node in nodes {
            let addresses = self.node_addresses.get(node).map_or(&[][..], Vec::as_slice);
            let mut one = self.tcp(name, from, &format!("node {node}"), addresses, port, true);
            for action in &mut one.actions {
                action.name = format!("{node}-{}", action.name);
            }
            scenario.actions.extend(one.actions);
        }
        scenario
    }

    pub(super) fn external(&self, name: &str, allowed: bool) -> Scenario {
        let port = self.external_port;
        // What is outside need not speak our tool's language.
        let what = |ip: &IpAddr| What::Tcp(SocketAddr::new(*ip, port), true);
        let usable: Vec<IpAddr> = self.external.iter().copied().filter(|ip| self.has_family(*ip)).collect();
        self.each(name, "client-a", "outside", &usable, what, allowed)
    }

    pub(super) fn has_family(&self, ip: IpAddr) -> bool {
        self.of("client-a").iter().any(|own| own.is_ipv4() == ip.is_ipv4())
    }

    /// The drops of a pod are told.
    pub(super) fn drops(&self, from: &str) -> Scenario {
        let off = (!self.is_on("enable-hubble")).then(|| "hubble.enabled is false".to_owned());
        let action = Action {
            name: "flows".to_owned(),
            from: from.to_owned(),
            to: "hubble".to_owned(),
            what: What::Drops,
            allowed: true,
        };
        let actions = if off.is_some() { Vec::new() } else { vec![action] };
        Scenario { name: "drops-are-seen".to_owned(), actions, skip: off }
    }
}
