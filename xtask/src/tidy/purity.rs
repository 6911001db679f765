//! Pure crates do no IO, read no clock and draw no random numbers; `unsafe` stays where it must be; nothing is a stub.

use super::finding::Report;
use super::source::Source;
use super::workspace::Workspace;

/// Crates whose only inputs are arguments.
const PURE: &[&str] = &[
    "axoneme-abi",
    "axoneme-types",
    "axoneme-policy",
    "axoneme-ipam",
    "axoneme-services",
    "axoneme-flow",
    "axoneme-kube-api",
    "axoneme-datapath",
    "axoneme-sim",
    "axoneme-agent-core",
    "axoneme-whatif",
];

/// Libraries that a pure crate may not have outside its tests.
const IMPURE_LIBRARIES: &[&str] = &[
    "tokio",
    "tokio-util",
    "tokio-stream",
    "rand",
    "getrandom",
    "fastrand",
    "libc",
    "rustix",
    "nix",
    "tracing",
];

/// Paths that a pure crate may not name outside its tests.
const IMPURE_PATHS: &[&str] = &[
    "tokio::",
    "rand::",
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "Instant::now",
    "SystemTime::now",
    "TcpStream",
    "UdpSocket",
    "UnixStream",
];

/// Packages that may hold `unsafe`; `bpf` and test fixtures are outside the workspace.
const UNSAFE: &[&str] = &[
    "axoneme-loader",
    "axoneme-netlink",
    // An entry of a kernel map is a pointer that others change too: its one wrapper, and the simulator that feigns it.
    "axoneme-datapath",
    "axoneme-sim",
    // Namespaces of threads and processes.
    "axoneme-kernel-tests",
    "lab",
];

/// Checks the pure crates.
pub(super) fn check(workspace: &Workspace, sources: &[Source]) -> Report {
    let mut report = Report::new("purity: no IO, clock, random");
    for package in workspace.packages.iter().filter(|package| PURE.contains(&package.name.as_str())) {
        for dependency in package.dependencies.iter().filter(|dependency| !dependency.is_dev()) {
            if IMPURE_LIBRARIES.contains(&dependency.name.as_str()) {
                report.error(
                    &package.name,
                    format!("is pure, but depends on {}", dependency.name),
                    "do the effect in a layer above, and hand in its result",
                );
            }
        }
    }
    for source in sources.iter().filter(|source| PURE.contains(&source.package.as_str()) && !source.is_test) {
        report.looked_at += 1;
        for (path, line) in
            IMPURE_PATHS.iter().flat_map(|path| source.lines_with(path).map(move |line| (path, line)))
        {
            report.error(
                source.place(line),
                format!("names {path} in a pure crate"),
                "take `now`, `seed` or the bytes as an argument; effects belong to the layers above",
            );
        }
        for line in source.lines_with("std::time::{").filter(|line| {
            let text = source.line(*line);
            text.contains("Instant") || text.contains("SystemTime")
        }) {
            report.error(source.place(line), "imports a clock in a pure crate", "take `now` as an argument");
        }
    }
    report
}

/// `unsafe` only where the kernel is talked to.
pub(super) fn check_unsafe(sources: &[Source]) -> Report {
    let mut report = Report::new("unsafe: only at the kernel's door");
    for source in
        sources.iter().filter(|source| !source.is_test && !UNSAFE.contains(&source.package.as_str()))
    {
        report.looked_at += 1;
        for line in ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"]
            .iter()
            .flat_map(|text| source.lines_with(text))
        {
            report.error(
                source.place(line),
                format!("unsafe in {}", source.package),
                "rustix and zerocopy have safe forms of most calls; what is left belongs to crates/loader or crates/netlink",
            );
        }
    }
    report
}

/// Nothing is left to be written later.
pub(super) fn check_stubs(sources: &[Source]) -> Report {
    let mut report = Report::new("stubs: none");
    for source in sources {
        report.looked_at += 1;
        for name in ["todo!", "unimplemented!"] {
            for line in source.lines_with(name) {
                report.error(
                    source.place(line),
                    format!("{name} in committed code"),
                    "write it, or take the item away",
                );
            }
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pure(text: &str) -> usize {
        let workspace = Workspace::parse(br#"{"packages": []}"#).expect("metadata");
        check(&workspace, &[Source::new("axoneme-policy", "crates/policy/src/x.rs", text)]).findings.len()
    }

    #[test]
    fn clocks_and_files_are_found() {
        assert_eq!(pure("use std::time::Instant;\n"), 1);
        assert_eq!(pure("use std::time::{Duration, SystemTime};\n"), 1);
        assert_eq!(pure("fn f() { let _ = std::fs::read(\"x\"); }\n"), 1);
    }

    #[test]
    fn durations_comments_strings_and_tests_are_fine() {
        assert_eq!(pure("use std::time::Duration;\n/// Not std::fs.\nconst A: &str = \"std::fs\";\n"), 0);
        assert_eq!(pure("fn f() {}\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n"), 0);
        assert_eq!(pure("fn f() {}\n#[cfg(test)]\nmod tests { }\nuse std::fs;\n"), 1);
    }

    #[test]
    fn unsafe_is_for_adapters() {
        let with = |package, text| check_unsafe(&[Source::new(package, "x/src/x.rs", text)]).findings.len();
        assert_eq!(with("axoneme-policy", "fn f() { unsafe { g() } }\n"), 1);
        assert_eq!(with("axoneme-loader", "fn f() { unsafe { g() } }\n"), 0);
        assert_eq!(with("axoneme-policy", "#![forbid(unsafe_code)]\n"), 0);
    }

    #[test]
    fn stubs_are_found_in_code_only() {
        let with = |text| check_stubs(&[Source::new("a", "x/src/x.rs", text)]).findings.len();
        assert_eq!(with("fn f() { todo!() }\n"), 1);
        assert_eq!(with("// todo!()\nconst A: &str = \"todo!\";\n"), 0);
    }
}
