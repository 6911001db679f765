//! A lab of two thin nodes with a client on one and a server on the other.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::inside::Task;
use super::objects;
use super::peer::Pods;
use super::spot::{Running, Spot};
use crate::lab::Lab;

/// The port at which the measured servers listen.
pub(super) const SERVER: u16 = 81;
/// Chart values: services are ours, packets travel as they are.
const VALUES: &[&str] = &[
    "kubeProxyReplacement=true",
    "routingMode=native",
    "autoDirectNodeRoutes=true",
    "ipv4NativeRoutingCIDR=10.0.0.0/8",
];

/// The lab and what runs in it.
pub(super) struct Field {
    /// The client's pod, on `t1`.
    pub(super) client: Spot,
    /// Addresses of both pods.
    pub(super) pods: Pods,
    _server: Running,
    /// Goes last.
    pub(super) lab: Lab,
}

impl Field {
    /// Brings it up.
    pub(super) fn up(name: &'static str) -> Result<Field> {
        let lab = up(name, "2")?;
        let pods = Pods { client: pod(&lab, "t1", "client")?, server: pod(&lab, "t2", "server")? };
        let client = Spot::pod(&lab, "t1", "client");
        let server = Spot::pod(&lab, "t2", "server").serve(SERVER)?;
        let field = Field { client, pods, _server: server, lab };
        let to = field.direct();
        wait("the pods to reach each other", Duration::from_secs(30), || field.client.connects(&to))?;
        Ok(field)
    }

    /// The server by its own address.
    pub(super) fn direct(&self) -> String {
        format!("{}:{SERVER}", self.pods.server)
    }

    /// Creates a service whose one endpoint is the server; its address.
    pub(super) fn real_service(&self, name: &str) -> Result<String> {
        self.lab.apply(&objects::list(&objects::real(name, self.pods.server, SERVER)))?;
        service_address(&self.lab, name)
    }
}

/// A lab of so many thin nodes, without kubelets.
pub(super) fn up(name: &'static str, nodes: &str) -> Result<Lab> {
    let mut arguments = vec!["--nodes", "0", "--thin", nodes];
    arguments.extend(VALUES.iter().flat_map(|value| ["--set", value]));
    Lab::up(name, &arguments)
}

/// Makes a pod on a thin node; its IPv4 address.
pub(super) fn pod(lab: &Lab, node: &str, name: &str) -> Result<Ipv4Addr> {
    let text = crate::lab::run(lab.command(&["pod", "add", node, name]))?;
    let address = text.lines().find_map(|line| line.trim().parse().ok());
    address.with_context(|| format!("pod {name} has no IPv4 address: {text}"))
}

/// ADDRESS:PORT of a service.
pub(super) fn service_address(lab: &Lab, name: &str) -> Result<String> {
    let ip = lab.kubectl(&["get", "service", name, "-o", "jsonpath={.spec.clusterIP}"])?;
    ensure!(ip.parse::<Ipv4Addr>().is_ok(), "service {name} has no address: {ip:?}");
    Ok(format!("{ip}:{}", objects::PORT))
}

/// Runs a task of this program in a machine of the lab; its output.
pub(super) fn inside(lab: &Lab, machine: &str, task: &Task) -> Result<String> {
    let me = std::env::current_exe()?.display().to_string();
    Spot::machine(lab, machine).run(&[&me, "inside-services", &serde_json::to_string(task)?])
}

/// Tries until it is so.
pub(super) fn wait(what: &str, limit: Duration, mut so: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !so()? {
        ensure!(start.elapsed() < limit, "waited {limit:?} for {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}
