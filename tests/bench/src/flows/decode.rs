//! From the kernel's record to a flow with names.

use std::collections::HashMap;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use abi::{Event, EventKind, TracePoint};
use anyhow::Result;
use flow::{Cached, Emitter, Endpoint, Lookups, Pod, Policies, Policy, Workload};
use types::Labels;
use zerocopy::IntoBytes;

use crate::figure::{Figure, Figures};
use crate::stats::{median, thread_time};

/// Pods of the node, and of others, that talk to each other.
const PODS: u16 = 64;
/// Records that the agent names in one go when there are many.
const BATCH: usize = 4096;

pub(super) fn figures() -> Vec<Figure> {
    let alone = "decode.named_one_by_one";
    vec![
        Figure::higher("decode.named", "events/s and core").goal(1_000_000.0).peer(alone),
        Figure::higher(alone, "events/s and core"),
        Figure::higher("decode.decoded", "events/s and core"),
    ]
}

pub(super) fn measure(figures: &mut Figures, quick: bool) -> Result<()> {
    let (rounds, batches) = if quick { (3, 4) } else { (15, 32) };
    let (node, records) = (Node::new(), records());
    let (mut named, mut alone, mut decoded) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        named.push(rate(batches, || {
            let names = Cached::new(&node);
            name(&records, &names)
        })?);
        alone.push(rate(batches, || name(&records, &node))?);
        decoded.push(rate(batches, || {
            for record in &records {
                black_box(flow::decode(record)?);
            }
            Ok(())
        })?);
    }
    figures.set("decode.named", median(&named), rounds)?;
    figures.set("decode.named_one_by_one", median(&alone), rounds)?;
    figures.set("decode.decoded", median(&decoded), rounds)
}

/// Records a second of time on the processor.
fn rate(batches: usize, mut batch: impl FnMut() -> Result<()>) -> Result<f64> {
    let start = thread_time();
    for _ in 0..batches {
        batch()?;
    }
    Ok((batches * BATCH) as f64 / (thread_time() - start).as_secs_f64())
}

/// As the agent does with a batch, flows kept until all of it is named.
fn name(records: &[Vec<u8>], names: &impl Lookups) -> Result<()> {
    let mut flows = Vec::with_capacity(records.len());
    for record in records {
        flows.push(flow::enrich(flow::decode(record)?, names, 1_700_000_000_000_000_000));
    }
    black_box(flows);
    Ok(())
}

/// A node's names, made for each question as the agent's state makes them.
struct Node {
    pods: HashMap<IpAddr, (u16, String)>,
    labels: Labels,
    node: Arc<str>,
    node_labels: Arc<[String]>,
    emitter: Arc<Emitter>,
}

fn address(pod: u16) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 + u32::from(pod))
}

impl Node {
    fn new() -> Self {
        let pod = |id: u16| (address(id).into(), (id, format!("checkout-7d9f8b6c5d-{id:05}")));
        let labels = [
            "k8s:app=checkout",
            "k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name=shop",
            "k8s:io.cilium.k8s.policy.cluster=default",
            "k8s:io.cilium.k8s.policy.serviceaccount=default",
            "k8s:io.kubernetes.pod.namespace=shop",
        ];
        Self {
            pods: (1..=PODS).map(pod).collect(),
            labels: Labels::parse(labels).unwrap_or_default(),
            node: "default/n1".into(),
            node_labels: Arc::from(["kubernetes.io/hostname=n1".to_owned()]),
            emitter: Arc::new(Emitter { name: "Axoneme".into(), version: "0.1.0".into() }),
        }
    }
}

impl Lookups for Node {
    fn node_name(&self) -> Arc<str> {
        Arc::clone(&self.node)
    }

    fn node_labels(&self) -> Arc<[String]> {
        Arc::clone(&self.node_labels)
    }

    fn emitter(&self) -> Option<Arc<Emitter>> {
        Some(Arc::clone(&self.emitter))
    }

    fn endpoint(&self, id: u16) -> Option<Arc<Endpoint>> {
        self.endpoint_at(address(id).into())
    }

    fn endpoint_at(&self, address: IpAddr) -> Option<Arc<Endpoint>> {
        let (id, name) = self.pods.get(&address)?;
        let pod = Pod {
            cluster: "default".to_owned(),
            namespace: "shop".to_owned(),
            name: name.clone(),
            workloads: vec![Workload { name: "checkout".to_owned(), kind: "Deployment".to_owned() }],
        };
        let (id, identity) = (*id, 4000 + u32::from(*id));
        Some(Arc::new(Endpoint { id, identity, labels: self.labels.clone(), pod: Some(Arc::new(pod)) }))
    }

    fn identity_at(&self, address: IpAddr) -> Option<u32> {
        self.pods.get(&address).map(|(id, _)| 4000 + u32::from(*id))
    }

    fn labels(&self, _: u32) -> Option<Labels> {
        Some(self.labels.clone())
    }

    fn policies(&self, cookie: u32) -> Option<Policies> {
        let policy = Policy {
            kind: "CiliumNetworkPolicy".to_owned(),
            namespace: "shop".to_owned(),
            name: format!("rule-{cookie}"),
            labels: vec!["k8s:io.cilium.k8s.policy.derived-from=CiliumNetworkPolicy".to_owned()],
            revision: 7,
        };
        Some([policy].into())
    }

    fn interface(&self, index: u32) -> Option<Arc<str>> {
        Some(format!("lxc{index:08x}").into())
    }
}

/// A batch as a busy node has it: seven traces, two verdicts, a drop, and so on.
fn records() -> Vec<Vec<u8>> {
    let record = |n: usize| {
        let number = n as u32;
        let (from, to) = ((number % u32::from(PODS)) as u16 + 1, (number / 7 % u32::from(PODS)) as u16 + 1);
        let frame = frame(from, to, 32_768 + (number % 28_000) as u16);
        let kind = match n % 10 {
            0..=6 => EventKind::Trace,
            7 | 8 => EventKind::PolicyVerdict,
            _ => EventKind::Drop,
        };
        let code = match kind {
            EventKind::Trace => TracePoint::ToEndpoint as u8,
            EventKind::Drop => 133,
            _ => 0,
        };
        let event = Event {
            time: u64::from(number) * 10_000,
            kind: kind as u8,
            code,
            source_identity: 4000 + u32::from(from),
            destination_identity: 4000 + u32::from(to),
            source_endpoint: from,
            destination_endpoint: to,
            cookie: if matches!(kind, EventKind::Trace) { 0 } else { 1 + number % 20 },
            ifindex: u32::from(from),
            captured: frame.len() as u32,
            length: frame.len() as u32,
            ..Event::default()
        };
        [event.as_bytes(), &frame].concat()
    };
    (0..BATCH).map(record).collect()
}

/// A TCP segment.
fn frame(from: u16, to: u16, port: u16) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([8, 0, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0]);
    frame.extend(address(from).octets());
    frame.extend(address(to).octets());
    frame.extend(port.to_be_bytes());
    frame.extend([0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    frame
}
