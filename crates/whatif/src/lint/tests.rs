//! Files in, findings out: `testdata/lint/*.yaml`. A line `#! ` is a finding that is expected of the file.

use super::*;

/// Pods and namespaces that selectors are looked up among.
const CLUSTER: &str = "\
kind: Namespace
metadata: {name: shop, labels: {team: a}}
---
kind: Namespace
metadata: {name: empty}
---
kind: Pod
metadata: {name: frontend-1, namespace: shop, labels: {app: frontend, tier: web}}
spec: {containers: [{name: c, ports: [{name: http, containerPort: 80}]}]}
---
kind: Pod
metadata: {name: backend-1, namespace: shop, labels: {app: backend}}
spec: {containers: [{name: c, ports: [{name: grpc, containerPort: 9000}]}]}
---
kind: Node
metadata: {name: n1, labels: {role: edge, zone: a}}
---
kind: Node
metadata: {name: n2, labels: {role: worker}}
---
kind: CiliumCIDRGroup
metadata: {name: offices, labels: {site: paris}}
spec: {externalCIDRs: [192.0.2.0/24]}
---
kind: Service
metadata: {name: db, namespace: shop, labels: {tier: data}}
spec: {selector: {app: backend}}
---
kind: Service
metadata: {name: cache, namespace: empty}
spec: {selector: {app: cache}}
";

fn check(name: &str, text: &str) {
    let cluster = Documents::read(CLUSTER);
    assert!(cluster.broken.is_empty());
    let cluster = Inventory::read(&cluster.objects, "default", "default");
    assert_eq!((cluster.pods.len(), cluster.problems.len()), (2, 0));
    let known = (!name.ends_with("-alone")).then_some(&cluster);
    let findings = lint(&Documents::read(text), "shop", known);
    let found: Vec<String> = findings
        .iter()
        .map(|f| {
            let severity = if f.severity == Severity::Error { "error" } else { "warning" };
            let Position { line, column } = f.position;
            format!("#! {line}:{column} {severity} {}: {}: {}", f.object, f.field, f.text)
        })
        .collect();
    let expected: Vec<&str> = text.lines().filter(|line| line.starts_with("#! ")).collect();
    assert!(found == expected, "{name}, expected:\n{}\nfound:\n{}\n", expected.join("\n"), found.join("\n"));
}

macro_rules! files {
    ($($test:ident $name:literal),*) => {
        $(
            #[test]
            fn $test() {
                check($name, include_str!(concat!("../../testdata/lint/", $name, ".yaml")));
            }
        )*

        #[test]
        fn every_file_is_checked() {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/lint");
            let all = std::fs::read_dir(folder).expect("a folder").count();
            assert_eq!(all, [$($name),*].len());
        }
    };
}
files!(
    refused "refused",
    broken "broken-alone",
    labels "labels",
    shadowed "shadowed",
    named "named",
    good "good"
);
