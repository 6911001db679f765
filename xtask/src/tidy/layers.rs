//! Arrows between our packages point downwards.

use super::finding::Report;
use super::workspace::{Dependency, Package, Workspace};

/// Arrows between packages of one layer that are meant: (who, whom).
const SIDEWAYS: &[(&str, &str)] = &[
    // Measurements and tests stand on the same test node.
    ("axoneme-bench", "axoneme-kernel-tests"),
    // The kernel judges the random policies that the simulator judges.
    ("axoneme-kernel-tests", "axoneme-policy-tests"),
    // The relay's tests stand in front of real servers.
    ("axoneme-relay", "axoneme-observer"),
];

pub(super) fn check(workspace: &Workspace) -> Report {
    let mut report = Report::new("layers: arrows point down");
    for package in &workspace.packages {
        report.looked_at += 1;
        let Some(layer) = package.layer() else {
            report.error(
                &package.name,
                "has no layer",
                "add `layer = N` under [package.metadata.axoneme]; docs/ARCHITECTURE.md says what the layers are",
            );
            continue;
        };
        for dependency in &package.dependencies {
            if let Some(target) = workspace.package(&dependency.name) {
                check_arrow(&mut report, package, layer, dependency, target);
            }
        }
    }
    report
}

fn check_arrow(report: &mut Report, from: &Package, layer: u8, dependency: &Dependency, to: &Package) {
    // A target without a layer has an error of its own.
    let Some(below) = to.layer() else { return };
    let kind = dependency.kind.as_deref().map_or(String::new(), |kind| format!(" ({kind})"));
    if below > layer {
        report.error(
            &from.name,
            format!("layer {layer} depends on {}, layer {below}{kind}: an arrow upwards", to.name),
            "move what both need down into a lower crate, or take it as an argument (a trait, a closure)",
        );
    } else if below == layer && !sideways(&from.name, &to.name) && !both_base(layer) {
        report.error(
            &from.name,
            format!("depends on {} of its own layer {layer}{kind}", to.name),
            "move one of them to another layer, or list the arrow in SIDEWAYS (xtask/src/tidy/layers.rs) with its reason",
        );
    }
}

fn sideways(from: &str, to: &str) -> bool {
    SIDEWAYS.contains(&(from, to))
}

/// The contracts of layer 0 may build on each other.
fn both_base(layer: u8) -> bool {
    layer == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packages as (name, layer, dependencies).
    fn errors(packages: &[(&str, u8, &[&str])]) -> Vec<String> {
        let packages: Vec<_> = packages
            .iter()
            .map(|(name, layer, dependencies)| {
                let dependencies: Vec<_> =
                    dependencies.iter().map(|name| serde_json::json!({"name": name, "kind": null})).collect();
                serde_json::json!({
                    "name": name, "manifest_path": format!("/x/{name}/Cargo.toml"), "targets": [],
                    "metadata": {"axoneme": {"layer": layer}}, "dependencies": dependencies,
                })
            })
            .collect();
        let json = serde_json::json!({ "packages": packages }).to_string();
        let workspace = Workspace::parse(json.as_bytes()).expect("metadata");
        check(&workspace)
            .findings
            .into_iter()
            .map(|finding| format!("{}: {}", finding.place, finding.text))
            .collect()
    }

    #[test]
    fn downwards_is_fine() {
        assert!(errors(&[("a", 0, &[]), ("b", 1, &["a"]), ("c", 3, &["a", "b", "serde"])]).is_empty());
    }

    #[test]
    fn upwards_is_an_error() {
        let found = errors(&[("a", 0, &["b"]), ("b", 1, &[])]);
        assert_eq!(found, ["a: layer 0 depends on b, layer 1: an arrow upwards"]);
    }

    #[test]
    fn sideways_is_an_error_unless_listed() {
        assert_eq!(errors(&[("a", 2, &["b"]), ("b", 2, &[])]), ["a: depends on b of its own layer 2"]);
        assert!(
            errors(&[("axoneme-bench", 5, &["axoneme-kernel-tests"]), ("axoneme-kernel-tests", 5, &[])])
                .is_empty()
        );
    }

    #[test]
    fn a_package_says_its_layer() {
        let json = r#"{"packages": [{"name": "a", "manifest_path": "/a/Cargo.toml", "targets": [], "dependencies": []}]}"#;
        let workspace = Workspace::parse(json.as_bytes()).expect("metadata");
        assert_eq!(check(&workspace).findings.len(), 1);
    }
}
