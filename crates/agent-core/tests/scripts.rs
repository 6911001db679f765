//! Scripts: Kubernetes objects in, tables out. Each file of `tests/scripts` is a list of steps, see [`Step`].
//!
//! `UPDATE_SCRIPTS=1` writes what came out into the files instead of comparing it, for a human to read and approve.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use axoneme_agent_core::{
    Attachment, Change, ClusterIdentity, Effect, Input, PodKey, PolicyWrite, Settings, State, Update, kube,
};
use ipam::PodAllocator;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube_api::{
    CiliumClusterwideNetworkPolicy, CiliumEndpoint, CiliumIdentity, CiliumNetworkPolicy, CiliumNode,
    ClusterNetworkPolicy,
};
use policy::{CidrMatch, Direction, EnforcementMode};
use serde::{Deserialize, Serialize};
use serde_yaml_ng::Value;
use types::{LabelFilter, NumericIdentity, PolicyKind};

/// A file.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Script {
    /// What the script shows.
    about: String,
    #[serde(default)]
    settings: Options,
    #[serde(with = "serde_yaml_ng::with::singleton_map_recursive")]
    steps: Vec<Step>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Options {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    native: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    direct_routes: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    ipv6: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    enforcement: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cidr_match_mode: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    node_selectors: bool,
    /// Identities that pods need come into being by themselves.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    auto_identities: bool,
}

/// One step. After each, the state is settled and everything is taken for written.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
enum Step {
    /// These are all objects there are, of every kind.
    #[serde(rename = "list")]
    List(Vec<Value>),
    /// These objects are new or changed.
    #[serde(rename = "apply")]
    Apply(Vec<Value>),
    /// `Kind namespace/name` is gone.
    #[serde(rename = "delete")]
    Delete(String),
    /// A plugin connects pods: `namespace/name` each.
    #[serde(rename = "connect")]
    Connect(Vec<String>),
    /// A plugin releases a pod.
    #[serde(rename = "release")]
    Release(String),
    /// Seconds go by.
    #[serde(rename = "wait")]
    Wait(u64),
    /// What the step before wrote, and what the tables hold.
    #[serde(rename = "expect")]
    Expect(Box<Expectation>),
}

/// Lines, by table; a table that is left out is not looked at.
#[derive(Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
struct Expectation {
    #[serde(skip_serializing_if = "Option::is_none")]
    wrote: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pods: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    local: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hosts: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefixes: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policies: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    routes: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    objects: Option<Vec<String>>,
    /// Pods whose objects the step before wrote or removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    told: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conditions: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    effects: Option<Vec<String>>,
    /// What the step before said of connection tracking.
    #[serde(skip_serializing_if = "Option::is_none")]
    untracked: Option<Vec<String>>,
    /// What becomes of a first packet: `FROM > TO PROTOCOL/PORT: verdict`, each end a connected pod or an address.
    #[serde(skip_serializing_if = "Option::is_none")]
    verdicts: Option<Vec<String>>,
}

const SECOND: u64 = 1_000_000_000;

struct World {
    state: State,
    now: u64,
    last: Update,
    ifindex: u32,
    auto_identities: bool,
}

impl World {
    fn new(options: &Options) -> Self {
        let parse = |text: &str| text.parse::<IpAddr>().expect("literal address");
        let mut pod_cidrs: Vec<IpNet> = vec!["10.0.0.0/24".parse().expect("literal prefix")];
        let mut routers = vec![parse("10.0.0.1")];
        let mut underlay = vec![parse("172.31.0.1")];
        if options.ipv6 {
            pod_cidrs.push("fd00::/120".parse().expect("literal prefix"));
            routers.push(parse("fd00::1"));
            underlay.push(parse("fd00:31::1"));
        }
        let ipam = PodAllocator::new(pod_cidrs.iter().copied(), &routers).expect("valid CIDRs");
        let settings = Settings {
            node: axoneme_agent_core::Node {
                name: "n1".to_owned(),
                underlay,
                routers,
                pod_cidrs,
                labels: BTreeMap::new(),
            },
            cluster: "lab".to_owned(),
            ipv4: true,
            ipv6: options.ipv6,
            tunnel: !options.native,
            direct_routes: options.direct_routes,
            enforcement: match options.enforcement.as_str() {
                "always" => EnforcementMode::Always,
                "never" => EnforcementMode::Never,
                _ => EnforcementMode::Default,
            },
            audit: false,
            cidr_match: CidrMatch {
                nodes: options.cidr_match_mode.iter().any(|mode| mode == "nodes"),
                pods: options.cidr_match_mode.iter().any(|mode| mode == "pods"),
            },
            node_selectors: options.node_selectors,
            node_labels: LabelFilter::default(),
            host_firewall: 0,
        };
        let filter = LabelFilter::new([]).expect("default filter");
        Self {
            state: State::new(settings, filter, ipam),
            now: SECOND,
            last: Update::default(),
            ifindex: 100,
            auto_identities: options.auto_identities,
        }
    }

    fn settle(&mut self) {
        self.last = self.state.settle(self.now);
        self.state.realized(self.last.revision);
        if !self.auto_identities {
            return;
        }
        for effect in self.last.effects.clone() {
            let Effect::CreateIdentity { number, labels } = effect else { continue };
            let identity = ClusterIdentity { number, labels: labels.security_labels() };
            self.state.apply(Input::Identities(Change::Apply(identity)), self.now);
            self.settle();
        }
    }

    fn list(&mut self, objects: &[Value]) {
        let mut kinds: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
        for object in objects {
            kinds.entry(kind(object)).or_default().push(object);
        }
        let of = |name: &str| kinds.get(name).cloned().unwrap_or_default();
        let inputs = [
            Input::Pods(Change::Reset(
                of("Pod").into_iter().filter_map(|v| kube::pod(read::<Pod>(v))).collect(),
            )),
            Input::Namespaces(Change::Reset(
                of("Namespace").into_iter().filter_map(|v| kube::namespace(read::<Namespace>(v))).collect(),
            )),
            Input::Nodes(Change::Reset(
                of("CiliumNode").into_iter().filter_map(|v| kube::node(read::<CiliumNode>(v))).collect(),
            )),
            Input::Endpoints(Change::Reset(
                of("CiliumEndpoint")
                    .into_iter()
                    .filter_map(|v| kube::endpoint(read::<CiliumEndpoint>(v)))
                    .collect(),
            )),
            Input::Identities(Change::Reset(
                of("CiliumIdentity")
                    .into_iter()
                    .filter_map(|v| kube::identity(read::<CiliumIdentity>(v)))
                    .collect(),
            )),
            Input::Policies(
                PolicyKind::Cnp,
                Change::Reset(of("CiliumNetworkPolicy").into_iter().filter_map(cnp).collect()),
            ),
            Input::Policies(
                PolicyKind::Ccnp,
                Change::Reset(of("CiliumClusterwideNetworkPolicy").into_iter().filter_map(ccnp).collect()),
            ),
            Input::Policies(
                PolicyKind::Knp,
                Change::Reset(of("NetworkPolicy").into_iter().filter_map(knp).collect()),
            ),
            Input::Policies(
                PolicyKind::Cluster,
                Change::Reset(of("ClusterNetworkPolicy").into_iter().filter_map(cluster).collect()),
            ),
            Input::Policies(PolicyKind::File, Change::Reset(of("File").into_iter().map(file).collect())),
            Input::ApiServers(of("ApiServers").into_iter().flat_map(addresses).collect()),
            Input::CidrGroups(Change::Reset(
                of("CiliumCIDRGroup").into_iter().map(|v| kube_api::cidr_group(&read(v)).0).collect(),
            )),
            Input::Services(Change::Reset(
                of("Service").into_iter().map(|v| kube_api::named_service(&read(v))).collect(),
            )),
            Input::AddressLists(Change::Reset(
                of("EndpointSlice").into_iter().filter_map(|v| kube_api::address_list(&read(v))).collect(),
            )),
        ];
        for input in inputs {
            self.state.apply(input, self.now);
        }
    }

    fn apply(&mut self, object: &Value) {
        let input = match kind(object).as_str() {
            "Pod" => Input::Pods(Change::Apply(kube::pod(read(object)).expect("a pod"))),
            "Namespace" => {
                Input::Namespaces(Change::Apply(kube::namespace(read(object)).expect("a namespace")))
            }
            "CiliumNode" => Input::Nodes(Change::Apply(kube::node(read(object)).expect("a node"))),
            "CiliumEndpoint" => {
                Input::Endpoints(Change::Apply(kube::endpoint(read(object)).expect("an endpoint")))
            }
            "CiliumIdentity" => {
                Input::Identities(Change::Apply(kube::identity(read(object)).expect("an identity")))
            }
            "CiliumNetworkPolicy" => {
                Input::Policies(PolicyKind::Cnp, Change::Apply(cnp(object).expect("a policy")))
            }
            "CiliumClusterwideNetworkPolicy" => {
                Input::Policies(PolicyKind::Ccnp, Change::Apply(ccnp(object).expect("a policy")))
            }
            "NetworkPolicy" => {
                Input::Policies(PolicyKind::Knp, Change::Apply(knp(object).expect("a policy")))
            }
            "ClusterNetworkPolicy" => {
                Input::Policies(PolicyKind::Cluster, Change::Apply(cluster(object).expect("a policy")))
            }
            "File" => Input::Policies(PolicyKind::File, Change::Apply(file(object))),
            "ApiServers" => Input::ApiServers(addresses(object)),
            "CiliumCIDRGroup" => Input::CidrGroups(Change::Apply(kube_api::cidr_group(&read(object)).0)),
            "Service" => Input::Services(Change::Apply(kube_api::named_service(&read(object)))),
            "EndpointSlice" => Input::AddressLists(Change::Apply(
                kube_api::address_list(&read(object)).expect("a service's"),
            )),
            other => panic!("scripts know no {other}"),
        };
        self.state.apply(input, self.now);
    }

    fn delete(&mut self, what: &str) {
        let (kind, name) = what.split_once(' ').expect("`Kind name`");
        let pod = || pod_key(name);
        let input = match kind {
            "Pod" => Input::Pods(Change::Delete(pod())),
            "Namespace" => Input::Namespaces(Change::Delete(name.to_owned())),
            "CiliumNode" => Input::Nodes(Change::Delete(name.to_owned())),
            "CiliumEndpoint" => Input::Endpoints(Change::Delete(pod())),
            "CiliumIdentity" => Input::Identities(Change::Delete(name.parse().expect("a number"))),
            "CiliumNetworkPolicy" => Input::Policies(PolicyKind::Cnp, Change::Delete(pod())),
            "CiliumClusterwideNetworkPolicy" => Input::Policies(PolicyKind::Ccnp, Change::Delete(pod())),
            "NetworkPolicy" => Input::Policies(PolicyKind::Knp, Change::Delete(pod())),
            "ClusterNetworkPolicy" => Input::Policies(PolicyKind::Cluster, Change::Delete(pod())),
            "File" => Input::Policies(PolicyKind::File, Change::Delete(pod())),
            "CiliumCIDRGroup" => Input::CidrGroups(Change::Delete(name.to_owned())),
            "Service" => Input::Services(Change::Delete(object_name(name))),
            "EndpointSlice" => Input::AddressLists(Change::Delete(object_name(name))),
            other => panic!("scripts know no {other}"),
        };
        self.state.apply(input, self.now);
    }

    fn connect(&mut self, name: &str) {
        let key = pod_key(name);
        let spec = self.state.create(name, "eth0", "/netns", key, "", None).expect("room for a pod");
        self.ifindex += 1;
        let mac = |last| [2, 0, 0, 0, 0, last];
        self.state.attach(spec.id, Attachment { host_ifindex: self.ifindex, host_mac: mac(1), mac: mac(2) });
    }

    /// What the tables hold, as far as `wanted` looks at them.
    fn show(&self, wanted: &Expectation) -> Expectation {
        let pick =
            |asked: &Option<Vec<String>>, lines: &dyn Fn() -> Vec<String>| asked.as_ref().map(|_| lines());
        Expectation {
            wrote: pick(&wanted.wrote, &|| wrote(&self.last)),
            pods: pick(&wanted.pods, &|| self.pods()),
            local: pick(&wanted.local, &|| {
                sorted(self.state.local_rows().rows().iter().map(|(a, i)| format!("{a} {i}")))
            }),
            hosts: pick(&wanted.hosts, &|| {
                sorted(self.state.ipcache().hosts().rows().iter().map(|(a, e)| format!("{a} {}", entry(e))))
            }),
            prefixes: pick(&wanted.prefixes, &|| {
                let rows = self.state.ipcache().prefixes().rows().iter();
                sorted(rows.map(|(k, e)| {
                    format!("{} {}", axoneme_agent_core::key_prefix(k).expect("a prefix"), entry(e))
                }))
            }),
            policies: pick(&wanted.policies, &|| self.policies()),
            routes: pick(&wanted.routes, &|| {
                sorted(self.state.routes().rows().iter().map(|(p, r)| format!("{p} {r:?}")))
            }),
            objects: pick(&wanted.objects, &|| {
                let rows = self.state.objects().rows().values();
                sorted(rows.map(|o| {
                    let enforced = (o.enforced_ingress, o.enforced_egress);
                    format!("{} identity {} {} enforced {enforced:?}", o.pod, o.identity, o.phase.name())
                }))
            }),
            told: pick(&wanted.told, &|| {
                let told = self.last.endpoints.iter();
                sorted(
                    told.map(|(pod, object)| {
                        format!("{pod}{}", if object.is_some() { "" } else { " removed" })
                    }),
                )
            }),
            conditions: pick(&wanted.conditions, &|| {
                let rows = self.state.conditions().rows().iter();
                sorted(rows.map(|(o, c)| format!("{o}: {}", c.refused.as_deref().unwrap_or("valid"))))
            }),
            effects: pick(&wanted.effects, &|| self.last.effects.iter().map(effect).collect()),
            untracked: pick(&wanted.untracked, &|| untracked(&self.last)),
            verdicts: wanted
                .verdicts
                .as_ref()
                .map(|lines| lines.iter().map(|line| self.judge(line)).collect()),
        }
    }

    /// The line with the verdict that the tables give.
    fn judge(&self, line: &str) -> String {
        let question = line.split(": ").next().unwrap_or(line);
        let mut words = question.split(' ').filter(|word| *word != ">");
        let mut word = || words.next().expect("`FROM > TO PROTOCOL/PORT`");
        let (from, to) = (self.end(word()), self.end(word()));
        let (protocol, port) = word().split_once('/').expect("PROTOCOL/PORT");
        let protocol = match protocol {
            "icmp" => 1,
            "igmp" => 2,
            "tcp" => 6,
            "udp" => 17,
            "icmpv6" => 58,
            "vrrp" => 112,
            "sctp" => 132,
            other => other.parse().expect("a protocol"),
        };
        let port = port.parse().expect("a port");
        let mut verdict = "allow";
        for (direction, own, peer) in [(Direction::Egress, from, to), (Direction::Ingress, to, from)] {
            let Some(id) = self.state.by_address(own).map(|endpoint| endpoint.spec.id) else { continue };
            let (_, table) = self.state.policy_of(id).expect("a connected pod has a table");
            let (identity, block) = self.state.peer(peer);
            let block = if table.blocks { block } else { NumericIdentity::UNKNOWN };
            match table.lookup(identity, block, direction, protocol, port) {
                Some(hit) if hit.audited() => verdict = "audit",
                Some(hit) if !hit.denies() => {}
                _ => return format!("{question}: deny at {direction}"),
            }
        }
        format!("{question}: {verdict}")
    }

    fn end(&self, name: &str) -> IpAddr {
        if let Ok(address) = name.parse() {
            return address;
        }
        let key = pod_key(name);
        let endpoint = self.state.endpoints().values().find(|endpoint| endpoint.spec.pod == key);
        let endpoint = endpoint.unwrap_or_else(|| panic!("{name} is neither a connected pod nor an address"));
        endpoint.spec.addresses().next().expect("a pod has an address")
    }

    fn pods(&self) -> Vec<String> {
        let rows = self.state.pod_rows().rows().iter().map(|(ifindex, row)| {
            let f = &row.facts;
            let deny = (f.deny_cookie_ingress != 0, f.deny_cookie_egress != 0);
            let audit = if f.flags & abi::tables::POD_AUDIT != 0 { " audit" } else { "" };
            let forges = if f.flags & abi::tables::POD_ANY_SOURCE != 0 { " any source" } else { "" };
            format!(
                "{ifindex} endpoint {} identity {} {} deny cookies {deny:?}{audit}{forges}",
                f.endpoint, f.identity, f.v4
            )
        });
        sorted(rows)
    }

    /// The table of each pod, entry by entry.
    fn policies(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for endpoint in self.state.endpoints().values() {
            let Some((_, table)) = self.state.policy_of(endpoint.spec.id) else { continue };
            for (key, entry) in &table.entries {
                let deny = if entry.flags & abi::tables::POLICY_DENY != 0 { "deny" } else { "allow" };
                let open = if entry.flags & abi::tables::POLICY_UNENFORCED != 0 { " (open)" } else { "" };
                let l4 = match (key.l4.protocol, key.l4.bits) {
                    (_, 0) => String::new(),
                    (protocol, 8) => format!(" proto {protocol}"),
                    (protocol, 24) => format!(" proto {protocol} port {}", key.l4.port),
                    (protocol, bits) => format!(" proto {protocol} port {}/{bits}", key.l4.port),
                };
                let audit = if entry.flags & abi::tables::POLICY_AUDITED != 0 { " (audit)" } else { "" };
                let block = match key.block.get() {
                    0 => String::new(),
                    block => format!(" in {block}"),
                };
                lines.push(format!(
                    "{} {} {}{block}{l4} {deny}{open}{audit}",
                    endpoint.spec.pod, key.direction, key.identity
                ));
            }
        }
        lines
    }
}

fn kind(object: &Value) -> String {
    object.get("kind").and_then(Value::as_str).expect("an object has a kind").to_owned()
}

fn read<T: serde::de::DeserializeOwned>(object: &Value) -> T {
    let json = serde_json::to_value(object).expect("YAML of an object is JSON");
    serde_json::from_value(json).unwrap_or_else(|error| panic!("{error} in {object:?}"))
}

fn cnp(object: &Value) -> Option<axoneme_agent_core::PolicyObject> {
    kube::cilium_policy(&read::<CiliumNetworkPolicy>(object))
}

fn ccnp(object: &Value) -> Option<axoneme_agent_core::PolicyObject> {
    kube::cilium_policy(&read::<CiliumClusterwideNetworkPolicy>(object))
}

fn knp(object: &Value) -> Option<axoneme_agent_core::PolicyObject> {
    kube::network_policy(&read::<NetworkPolicy>(object))
}

/// `{kind: File, name: ..., policy: {...}}`; without a policy the file cannot be read.
fn file(object: &Value) -> axoneme_agent_core::PolicyObject {
    let name = object.get("name").and_then(Value::as_str).expect("a file has a name");
    let policy =
        object.get("policy").map(|policy| serde_json::to_value(policy).expect("YAML of an object is JSON"));
    kube::file_policy(name, policy.ok_or_else(|| format!("file {name} is empty")))
}

fn cluster(object: &Value) -> Option<axoneme_agent_core::PolicyObject> {
    kube::cluster_policy(&read::<ClusterNetworkPolicy>(object))
}

fn addresses(object: &Value) -> Vec<IpAddr> {
    let list = object.get("addresses").and_then(Value::as_sequence).expect("addresses");
    list.iter().map(|a| a.as_str().and_then(|a| a.parse().ok()).expect("an address")).collect()
}

fn pod_key(name: &str) -> PodKey {
    let (namespace, name) = name.split_once('/').unwrap_or(("", name));
    PodKey::new(namespace, name)
}

fn object_name(name: &str) -> policy::ObjectName {
    let PodKey { namespace, name } = pod_key(name);
    policy::ObjectName { namespace, name }
}

fn sorted(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<String> = lines.collect();
    lines.sort();
    lines
}

fn entry(entry: &abi::IpcacheEntry) -> String {
    let mut text = entry.identity.to_string();
    if entry.flags & abi::tables::IPCACHE_HOST != 0 {
        text.push_str(" host");
    }
    if entry.flags & abi::tables::IPCACHE_TUNNEL != 0 {
        text.push_str(" tunnel");
    }
    if !entry.node.is_unspecified() {
        let _ = write!(text, " via {}", entry.node);
    }
    text
}

/// How much of what the last settlement wrote.
fn wrote(update: &Update) -> Vec<String> {
    let mut lines: Vec<String> = update
        .policies
        .iter()
        .map(|write| match write {
            PolicyWrite::Create { .. } => "policy create".to_owned(),
            PolicyWrite::Edit { delta, .. } => {
                format!("policy edit +{} -{}", delta.upserts.len(), delta.deletes.len())
            }
            PolicyWrite::Remove { .. } => "policy remove".to_owned(),
        })
        .collect();
    for (table, rows) in [
        ("blocks", update.blocks.len()),
        ("hosts", update.hosts.len()),
        ("prefixes", update.prefixes.len()),
        ("pods", update.pods.len()),
        ("local", update.local.len()),
        ("routes", update.routes.len()),
    ] {
        if rows > 0 {
            lines.push(format!("{table} {rows}"));
        }
    }
    lines
}

/// What is not to be tracked, if that is news, and what the log says.
fn untracked(update: &Update) -> Vec<String> {
    let Some(all) = &update.untracked else { return vec!["no news".to_owned()] };
    let pods = all.pods.iter().map(|(address, protocol, port)| format!("{address} {protocol}/{port}"));
    let node = all.node.iter().map(|(protocol, port)| format!("node {protocol}/{port}"));
    let told = update.problems.iter().map(|problem| format!("log: {problem}"));
    pods.chain(node).chain(all.refused.iter().cloned()).chain(told).collect()
}

fn effect(effect: &Effect) -> String {
    match effect {
        Effect::CreateIdentity { number, labels } => format!("create identity {number} {labels}"),
        Effect::Save(id) => format!("save {id}"),
        Effect::Forget(id) => format!("forget {id}"),
    }
}

fn run(path: &Path) {
    let text = std::fs::read_to_string(path).expect("readable script");
    let mut script: Script =
        serde_yaml_ng::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut world = World::new(&script.settings);
    let update = std::env::var_os("UPDATE_SCRIPTS").is_some();
    for (number, step) in script.steps.iter_mut().enumerate() {
        match step {
            Step::List(objects) => world.list(objects),
            Step::Apply(objects) => objects.iter().for_each(|object| world.apply(object)),
            Step::Delete(what) => world.delete(what),
            Step::Connect(pods) => pods.iter().for_each(|pod| world.connect(pod)),
            Step::Release(pod) => assert!(world.state.remove(pod, "eth0").is_some(), "{pod} is connected"),
            Step::Wait(seconds) => world.now += *seconds * SECOND,
            Step::Expect(wanted) => {
                let seen = world.show(wanted);
                if update {
                    **wanted = seen;
                } else {
                    let name = path.file_name().unwrap_or_default().to_string_lossy();
                    let (wanted, seen) = (yaml(&wanted), yaml(&seen));
                    assert!(wanted == seen, "{name}, step {}: wanted\n{wanted}\nseen\n{seen}", number + 1);
                }
                continue;
            }
        }
        world.settle();
    }
    if update {
        std::fs::write(path, yaml(&script)).expect("writable script");
    }
}

fn yaml(value: &impl Serialize) -> String {
    serde_yaml_ng::to_string(value).expect("YAML")
}

/// Attacks that somebody once succeeded with, each by the script of its name (docs/advisories.md).
macro_rules! advisories {
    ($($name:ident: $file:literal;)*) => {
        $(#[test]
        fn $name() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
            run(&folder.join($file));
        })*

        #[test]
        fn every_advisory_has_a_test() {
            let named = [$($file),*];
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
            for entry in std::fs::read_dir(folder).expect("scripts") {
                let name = entry.expect("a script").file_name().to_string_lossy().into_owned();
                assert!(!name.starts_with("advisory-") || named.contains(&name.as_str()), "{name} has no test");
            }
        }
    };
}

advisories! {
    forged_labels_change_no_identity: "advisory-forged-labels.yaml";
    forged_identities_are_nobodys: "advisory-forged-identity.yaml";
    negative_requirements_lead_nowhere: "advisory-namespace-escape.yaml";
    empty_peers_are_nobody: "advisory-empty-peers.yaml";
    a_wide_deny_beats_narrow_allows: "advisory-wide-deny.yaml";
    a_block_alone_selects_no_pods: "advisory-block-alone.yaml";
    node_rules_admit_no_pods: "nodes-by-label.yaml";
}

#[test]
fn scripts_give_the_tables_they_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).expect("scripts").map(|entry| entry.expect("a script").path()).collect();
    paths.sort();
    assert!(paths.len() >= 10, "only {} scripts", paths.len());
    for path in paths {
        run(&path);
    }
}
