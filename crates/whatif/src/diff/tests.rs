use super::*;
use crate::document::Documents;

const BEFORE: &str = "\
kind: Namespace
metadata: {name: shop}
---
kind: Pod
metadata: {name: client, namespace: shop, labels: {app: client}}
---
kind: Pod
metadata: {name: other, namespace: shop, labels: {app: other}}
---
kind: Pod
metadata:
  name: web-1
  namespace: shop
  labels: {app: web, pod-template-hash: abc}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-abc, uid: u, controller: true}]
---
kind: CiliumNetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: web}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: client}}]
    toPorts: [{ports: [{port: \"80\", protocol: TCP}, {port: \"443\", protocol: TCP}]}]
";

fn inventory(text: &str) -> Inventory {
    let inventory = Inventory::read(&Documents::read(text).objects, "default", "shop");
    assert_eq!(inventory.problems, []);
    inventory
}

/// A line a change.
fn changes(before: &Inventory, candidate: &str) -> Vec<String> {
    let after = before.with(&inventory(candidate).policies);
    let told = diff(before, &after, EnforcementMode::Default, "default");
    assert_eq!(told.unchanged + told.workloads.len(), 3);
    let line = |workload: &WorkloadChanges, change: &Change| {
        let Change { direction, before, after, ports, peers, because } = change;
        let (ports, peers, because) = (ports.join(","), peers.join(","), because.join(","));
        format!("{} {direction} {before}→{after} {ports} of {peers} by {because}", workload.workload)
    };
    told.workloads.iter().flat_map(|w| w.changes.iter().map(move |change| line(w, change))).collect()
}

#[test]
fn a_policy_that_says_the_same_changes_nothing() {
    let before = inventory(BEFORE);
    assert_eq!(changes(&before, BEFORE), [""; 0]);
}

#[test]
fn what_is_lost_and_what_is_won() {
    let before = inventory(BEFORE);
    let candidate = "\
kind: CiliumNetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: web}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: client}}]
    toPorts: [{ports: [{port: \"80\", endPort: 89, protocol: TCP}]}]
  - fromCIDR: [10.0.0.0/8]
    icmps: [{fields: [{type: 8}]}]
";
    assert_eq!(
        changes(&before, candidate),
        [
            "shop/web ingress ALLOWED→DENIED 443/TCP of shop/client by CiliumNetworkPolicy shop/web",
            "shop/web ingress DENIED→ALLOWED ICMP type 8 of 10.0.0.0/8 by CiliumNetworkPolicy shop/web",
            "shop/web ingress DENIED→ALLOWED 81-89/TCP of shop/client by CiliumNetworkPolicy shop/web",
        ]
    );
}

#[test]
fn a_new_policy_closes_a_direction_and_an_audited_one_does_not() {
    let before = inventory(BEFORE);
    let policy = |annotations: &str| {
        format!(
            "kind: NetworkPolicy\nmetadata: {{name: quiet, namespace: shop{annotations}}}\n\
             spec: {{podSelector: {{matchLabels: {{app: other}}}}, policyTypes: [Egress]}}\n"
        )
    };
    assert_eq!(
        changes(&before, &policy("")),
        ["shop/other egress ALLOWED→DENIED everything of everyone by NetworkPolicy shop/quiet"]
    );
    assert_eq!(
        changes(&before, &policy(", annotations: {policy.cilium.io/audit-mode: enabled}")),
        ["shop/other egress ALLOWED→AUDIT everything of everyone by NetworkPolicy shop/quiet"]
    );
}

#[test]
fn blocks_of_addresses_are_about_pods_too() {
    let place = "status: {podIPs: [{ip: 10.0.0.7}]}\n---\nkind: Pod\nmetadata: {name: other";
    let before = inventory(&BEFORE.replacen("---\nkind: Pod\nmetadata: {name: other", place, 1));
    assert_eq!(before.find("shop", "client").expect("the client").addresses.len(), 1);
    let candidate = "\
kind: NetworkPolicy
metadata: {name: blocks, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
  - from: [{ipBlock: {cidr: 10.0.0.0/24}}]
    ports: [{port: 22}]
";
    assert_eq!(
        changes(&before, candidate),
        ["shop/web ingress DENIED→ALLOWED 22/TCP of 10.0.0.0/24,shop/client by NetworkPolicy shop/blocks"]
    );
}
