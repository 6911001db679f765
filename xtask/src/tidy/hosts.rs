//! No committed file names a registry: where packages and images come from is the machine's own setting.

use std::path::{Path, PathBuf};

use super::finding::Report;

/// Hosts of registries, dots left out so that this file does not name them either.
const HOSTS: &[&[&str]] = &[
    &["quay", "io"],
    &["docker", "io"],
    &["gcr", "io"],
    &["ghcr", "io"],
    &["mcr", "microsoft", "com"],
    &["registry", "k8s", "io"],
    &["pkg", "dev"],
    &["public", "ecr", "aws"],
    &["index", "crates", "io"],
    &["static", "crates", "io"],
    &["proxy", "golang", "org"],
    &["sum", "golang", "org"],
    &["pypi", "org"],
    &["pythonhosted", "org"],
    &["registry", "npmjs", "org"],
    &["deb", "debian", "org"],
    &["archive", "ubuntu", "com"],
    &["dl", "k8s", "io"],
];

/// Written by package managers, with sources in their own notation.
const GENERATED: &[&str] = &["Cargo.lock", "go.sum"];

pub(super) fn check(root: &Path, files: &[PathBuf]) -> Report {
    let hosts: Vec<String> = HOSTS.iter().map(|parts| parts.join(".")).collect();
    let mut report = Report::new("hosts: no registry is named");
    for file in files {
        if file.file_name().is_some_and(|name| GENERATED.iter().any(|generated| name == *generated)) {
            continue;
        }
        // What is gone from the disk or is not text names nobody.
        let Ok(text) = std::fs::read_to_string(root.join(file)) else { continue };
        report.looked_at += 1;
        for (index, line) in text.lines().enumerate() {
            for host in hosts.iter().filter(|host| names(line, host)) {
                report.error(
                    format!("{}:{}", file.display(), index + 1),
                    format!("names the registry {host}"),
                    "leave the host out; clients have their own default, and the lab loads images from archives",
                );
            }
        }
    }
    report
}

/// Whether `line` holds `host` as a host name or the end of one.
fn names(line: &str, host: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '-';
    line.match_indices(host).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(part);
        let after = line[at + host.len()..].chars().next().is_some_and(part);
        !before && !after
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_host_names_only() {
        let host = ["gcr", "io"].join(".");
        assert!(names(&format!("image: {host}/a/b"), &host));
        assert!(names(&format!("image: eu.{host}/a"), &host));
        assert!(!names(&format!("my{host}"), &host));
        assert!(!names(&format!("{host}x"), &host));
    }

    #[test]
    fn this_file_names_none() {
        let report = check(Path::new(env!("CARGO_MANIFEST_DIR")), &[PathBuf::from("src/tidy/hosts.rs")]);
        assert_eq!((report.looked_at, report.findings.len()), (1, 0), "{:?}", report.findings);
    }
}
