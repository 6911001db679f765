//! Each outside world has one crate that may import its library.

use super::finding::Report;
use super::source::Source;
use super::workspace::Workspace;

/// A library and the packages that may have it.
struct Confined {
    /// Name of the package; a trailing `*` stands for anything.
    library: &'static str,
    /// Our packages that may depend on it.
    adapters: &'static [&'static str],
}

const fn confined(library: &'static str, adapters: &'static [&'static str]) -> Confined {
    Confined { library, adapters }
}

const CONFINED: &[Confined] = &[
    confined("aya", &["axoneme-loader"]),
    confined("aya-obj", &["axoneme-loader"]),
    confined("libbpf-*", &[]),
    confined("netlink-*", &["axoneme-netlink"]),
    confined("rtnetlink", &["axoneme-netlink"]),
    confined("neli", &["axoneme-netlink"]),
    confined("kube", &["axoneme-kube-watch", "axoneme-kube-api"]),
    confined("kube-*", &["axoneme-kube-watch"]),
    confined("etcd-client", &[]),
    confined("tonic-prost-build", &["axoneme-hubble-pb"]),
    confined("prost-build", &["axoneme-hubble-pb"]),
    confined("pbjson-build", &["axoneme-hubble-pb"]),
    confined("protox", &["axoneme-hubble-pb"]),
    confined("rustls*", &["axoneme-grpc"]),
    confined("tokio-rustls", &["axoneme-grpc"]),
];

/// Parts of the Kubernetes client that mean IO. `kube-api` has the library for its derive macros only.
const KUBE_CLIENT: &[&str] =
    &["kube::Client", "kube::Api", "kube::client", "kube::api", "kube::runtime", "kube::Config"];
const KUBE_TYPES: &str = "axoneme-kube-api";

pub(super) fn check(workspace: &Workspace, sources: &[Source]) -> Report {
    let mut report = Report::new("imports: one adapter a library");
    for package in &workspace.packages {
        for dependency in &package.dependencies {
            report.looked_at += 1;
            if workspace.package(&dependency.name).is_some() {
                continue;
            }
            let Some(rule) = CONFINED.iter().find(|rule| matches(rule.library, &dependency.name)) else {
                continue;
            };
            if !rule.adapters.contains(&package.name.as_str()) {
                report.error(
                    &package.name,
                    format!("depends on {}, which only {} may import", dependency.name, names(rule.adapters)),
                    "call the adapter, and add to it what is missing",
                );
            }
        }
    }
    for source in sources.iter().filter(|source| source.package == KUBE_TYPES && !source.is_test) {
        report.looked_at += 1;
        for path in KUBE_CLIENT {
            for line in source.lines_with(path) {
                report.error(
                    source.place(line),
                    format!("uses {path}: this crate has types only"),
                    "move what talks to the API server to crates/kube-watch",
                );
            }
        }
    }
    report
}

fn names(adapters: &[&str]) -> String {
    if adapters.is_empty() { "nobody".to_owned() } else { adapters.join(", ") }
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(package: &str, dependency: &str) -> usize {
        let json = serde_json::json!({"packages": [{
            "name": package, "manifest_path": "/x/Cargo.toml", "targets": [],
            "metadata": {"axoneme": {"layer": 1}}, "dependencies": [{"name": dependency, "kind": null}],
        }]});
        let workspace = Workspace::parse(json.to_string().as_bytes()).expect("metadata");
        check(&workspace, &[]).findings.len()
    }

    #[test]
    fn only_the_adapter_has_the_library() {
        assert_eq!(errors("axoneme-loader", "aya"), 0);
        assert_eq!(errors("cilium-agent", "aya"), 1);
        assert_eq!(errors("axoneme-cni", "netlink-packet-route"), 1);
        assert_eq!(errors("axoneme-netlink", "netlink-packet-route"), 0);
        assert_eq!(errors("axoneme-kube-api", "kube"), 0);
        assert_eq!(errors("axoneme-kube-api", "kube-runtime"), 1);
        assert_eq!(errors("cilium-agent", "serde"), 0);
    }

    #[test]
    fn the_types_crate_has_no_client() {
        let workspace = Workspace::parse(br#"{"packages": []}"#).expect("metadata");
        let with = |text| Source::new(KUBE_TYPES, "crates/kube-api/src/x.rs", text);
        assert_eq!(check(&workspace, &[with("use kube::Client;\n")]).findings.len(), 1);
        assert_eq!(
            check(&workspace, &[with("use kube::CustomResource; // not kube::Client\n")]).findings.len(),
            0
        );
    }
}
