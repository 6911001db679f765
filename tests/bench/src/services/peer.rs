//! A second cluster network in namespaces beside the lab's nodes, with the lab's API server: two nodes joined to the
//! lab's wires, IP routing between them, a pod on each at the end of a veth pair; kube-proxy, where wanted. No program
//! and no filter of ours is there. Its pods have the addresses of our pods, so that the same EndpointSlices lead to them:
//! only routes inside these namespaces know, and only frames between their nodes carry these addresses.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use rustix::process::Signal;

use super::spot::{Running, Spot};
use crate::lab::{Lab, run};

/// Where a pod sends everything; its node answers there.
const GATEWAY: &str = "169.254.1.1";

/// How kube-proxy forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proxy {
    /// There is none.
    None,
    Iptables,
    Nftables,
}

/// Addresses of the pods.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pods {
    pub(super) client: Ipv4Addr,
    pub(super) server: Ipv4Addr,
}

/// A network of two nodes.
pub(super) struct Peer {
    /// Where clients run.
    pub(super) client: Spot,
    /// The server's node itself.
    pub(super) second: Spot,
    server: Running,
    proxies: Vec<Running>,
}

impl Peer {
    /// Makes it, with a server at `port`. `host` is the first node's number in the lab's underlay, and the second has the
    /// next. The namespaces go with the lab.
    pub(super) fn up(lab: &Lab, proxy: Proxy, host: u8, pods: Pods, port: u16) -> Result<Peer> {
        let name = proxy.name();
        let nodes = [(1, pods.client), (2, pods.server)].map(|(number, pod)| Node {
            lab,
            namespace: lab.namespace(&format!("{name}{number}")),
            wire: format!("{name}{number}"),
            address: Ipv4Addr::new(172, 31, 0, host + number - 1),
            pod,
        });
        for (node, other) in [(&nodes[0], &nodes[1]), (&nodes[1], &nodes[0])] {
            node.create(other).with_context(|| format!("making {}", node.namespace))?;
        }
        let server = Spot::namespace(&nodes[1].pod_namespace()).serve(port)?;
        let mut proxies = Vec::new();
        for (node, hostname) in nodes.iter().zip(["t1", "t2"]) {
            if let Some(mode) = proxy.mode() {
                proxies.push(node.start_proxy(mode, hostname)?);
            }
        }
        Ok(Peer {
            client: Spot::namespace(&nodes[0].pod_namespace()),
            second: Spot::namespace(&nodes[1].namespace),
            server,
            proxies,
        })
    }

    /// Fails if the server or a kube-proxy has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        self.server.check("a server")?;
        self.proxies.iter_mut().try_for_each(|proxy| proxy.check("kube-proxy"))
    }

    /// Halts kube-proxy: its rules stay, and are what is measured. With many services it writes its list of them anew every
    /// half minute, for seconds, which would slow down everybody on this machine.
    pub(super) fn pause(&self) -> Result<()> {
        self.proxies.iter().try_for_each(|proxy| proxy.signal(Signal::STOP))
    }

    /// Lets kube-proxy go on.
    pub(super) fn resume(&self) -> Result<()> {
        self.proxies.iter().try_for_each(|proxy| proxy.signal(Signal::CONT))
    }
}

impl Proxy {
    fn name(self) -> &'static str {
        match self {
            Proxy::None => "plain",
            Proxy::Iptables => "ipt",
            Proxy::Nftables => "nft",
        }
    }

    fn mode(self) -> Option<&'static str> {
        match self {
            Proxy::None => None,
            Proxy::Iptables => Some("iptables"),
            Proxy::Nftables => Some("nftables"),
        }
    }
}

struct Node<'a> {
    lab: &'a Lab,
    namespace: String,
    /// Name of its end in the lab's fabric.
    wire: String,
    address: Ipv4Addr,
    pod: Ipv4Addr,
}

impl Node<'_> {
    fn pod_namespace(&self) -> String {
        format!("{}-pod", self.namespace)
    }

    fn create(&self, other: &Node) -> Result<()> {
        let Node { namespace: node, wire, address, pod, .. } = self;
        let (inside, fabric) = (self.pod_namespace(), self.lab.namespace("fabric"));
        for namespace in [node, &inside] {
            ip(&format!("netns add {namespace}"))?;
            ip(&format!("-n {namespace} link set lo up"))?;
        }
        ip(&format!(
            "link add eth0 mtu 1500 netns {node} type veth peer name {wire} mtu 1500 netns {fabric}"
        ))?;
        ip(&format!("-n {fabric} link set {wire} master br0 up"))?;
        ip(&format!("-n {node} addr add {address}/24 dev eth0"))?;
        ip(&format!("-n {node} link set eth0 up"))?;
        ip(&format!("-n {node} route add default via 172.31.0.1"))?;
        ip(&format!("-n {node} route add {}/32 via {}", other.pod, other.address))?;
        ip(&format!("link add pod mtu 1500 netns {node} type veth peer name eth0 mtu 1500 netns {inside}"))?;
        ip(&format!("-n {node} addr add {GATEWAY}/32 dev pod"))?;
        ip(&format!("-n {node} link set pod up"))?;
        ip(&format!("-n {node} route add {pod}/32 dev pod"))?;
        ip(&format!("-n {inside} addr add {pod}/32 dev eth0"))?;
        ip(&format!("-n {inside} link set eth0 up"))?;
        ip(&format!("-n {inside} route add {GATEWAY}/32 dev eth0 scope link"))?;
        ip(&format!("-n {inside} route add default via {GATEWAY}"))?;
        // Settings below net/ are those of the namespace of who opens them.
        Spot::namespace(node).run(&["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]).map(drop)
    }

    /// The real one, with the flags that the lab gives it on a node. Its `/run` is its own: two of them on one machine
    /// would wait for each other's lock.
    fn start_proxy(&self, mode: &str, hostname: &str) -> Result<Running> {
        let log = crate::root().join(format!("target/bench/kube-proxy-{}.log", self.wire));
        let log = std::fs::File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let program = crate::root().join("target/tools/bin/kube-proxy");
        let kubeconfig = self.lab.directory()?.join("pki/kube-proxy.conf");
        let mut command: Command = Spot::namespace(&self.namespace).command(&[
            "unshare",
            "--mount",
            "sh",
            "-c",
            "mount -t tmpfs tmpfs /run && exec \"$@\"",
            "sh",
            &program.display().to_string(),
            &flag("kubeconfig", kubeconfig.display()),
            &flag("hostname-override", hostname),
            &flag("proxy-mode", mode),
            &flag("conntrack-max-per-core", 0),
            &flag("conntrack-tcp-timeout-established", "0s"),
            &flag("conntrack-tcp-timeout-close-wait", "0s"),
        ]);
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        Running::start(command.stdout(Stdio::null()).stderr(log))
    }
}

fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}

fn ip(words: &str) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(words.split(' '));
    run(command).map(drop)
}

/// What `iptables` is on this machine: kube-proxy takes what it finds.
pub(super) fn iptables() -> String {
    let known = Path::new("/usr/sbin/iptables");
    let mut command = Command::new(if known.exists() { known } else { Path::new("iptables") });
    command.arg("-V");
    run(command).map(|text| text.trim().to_owned()).unwrap_or_default()
}
