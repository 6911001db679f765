//! Whether this node has what the services' options ask for.

use anyhow::{Result, bail};
use loader::{Feature, ServiceSupport};

use crate::config::{Acceleration, Balancing, SocketLb};

/// Asks the kernel, and logs what it has.
///
/// # Errors
/// An option asks for what is not there; the text names it and the cure.
pub(crate) fn probe(balancing: &Balancing) -> Result<ServiceSupport> {
    let support = ServiceSupport::probe(&balancing.cgroup_root);
    check(balancing, &support)?;
    for feature in support.all() {
        match &feature.problem {
            None => tracing::info!(feature = feature.name, "services: this node has it"),
            Some(problem) => tracing::warn!(feature = feature.name, problem, "services: this node lacks it"),
        }
    }
    Ok(support)
}

/// Refuses options that this node cannot follow.
fn check(balancing: &Balancing, support: &ServiceSupport) -> Result<()> {
    let problem = |feature: &Feature| feature.problem.clone();
    if balancing.socket != SocketLb::Off {
        if let Some(problem) = problem(&support.cgroup) {
            let root = balancing.cgroup_root.display();
            bail!(
                "--bpf-lb-sock=true cannot be used with --cgroup-root={root}, where no cgroup v2 hierarchy is mounted ({problem}): \
                 mount it there (mount -t cgroup2 cgroup2 {root}; chart: cgroup.autoMount.enabled=true), or set --bpf-lb-sock=false \
                 (chart: socketLB.enabled=false)"
            );
        }
        for feature in [&support.sockets, &support.peer_names] {
            if let Some(problem) = problem(feature) {
                bail!(
                    "--bpf-lb-sock=true cannot be used with this kernel, which lacks {} ({problem}); or set --bpf-lb-sock=false \
                     (chart: socketLB.enabled=false)",
                    feature.name
                );
            }
        }
    }
    if balancing.socket == SocketLb::Host
        && let Some(problem) = problem(&support.namespaces)
    {
        bail!(
            "--bpf-lb-sock-hostns-only=true cannot be used with this kernel, which lacks {} ({problem}); or set \
             --bpf-lb-sock-hostns-only=false (chart: socketLB.hostNamespaceOnly=false)",
            support.namespaces.name
        );
    }
    if balancing.acceleration != Acceleration::Disabled
        && let Some(problem) = problem(&support.xdp)
    {
        bail!(
            "--bpf-lb-acceleration cannot be used with this kernel, which lacks XDP ({problem}); or set \
             --bpf-lb-acceleration=disabled (chart: loadBalancer.acceleration=disabled)"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Options};

    fn balancing(pairs: &[(&str, &str)]) -> Balancing {
        let mut options = Options::default();
        for (name, value) in [("k8s-node-name", "n1"), ("kube-proxy-replacement", "true")].iter().chain(pairs)
        {
            options.set(name, value);
        }
        Config::parse(&options).expect("valid").balancing
    }

    fn support(missing: &str) -> ServiceSupport {
        let feature = |name: &'static str| Feature {
            name,
            required: false,
            problem: (name == missing).then(|| "it is not there: get it".to_owned()),
        };
        ServiceSupport {
            cgroup: feature("cgroup"),
            sockets: feature("sockets"),
            namespaces: feature("namespaces"),
            errors: feature("errors"),
            peer_names: feature("peers"),
            xdp: feature("xdp"),
        }
    }

    #[test]
    fn what_is_asked_for_and_missing_is_fatal_and_nothing_else() {
        let off = ("bpf-lb-sock", "false");
        let host = ("bpf-lb-sock-hostns-only", "true");
        let xdp = ("bpf-lb-acceleration", "best-effort");
        for (options, missing, refusal) in [
            (&[][..], "", ""),
            (
                &[],
                "cgroup",
                "--bpf-lb-sock=true cannot be used with --cgroup-root=/run/cilium/cgroupv2, where no cgroup v2",
            ),
            (&[off], "cgroup", ""),
            (
                &[],
                "sockets",
                "--bpf-lb-sock=true cannot be used with this kernel, which lacks sockets (it is not there: get it); or",
            ),
            (&[off], "sockets", ""),
            (&[], "peers", "--bpf-lb-sock=true cannot be used with this kernel, which lacks peers"),
            (&[], "namespaces", ""),
            (&[host], "namespaces", "--bpf-lb-sock-hostns-only=true cannot be used with this kernel"),
            (&[], "errors", ""),
            (&[], "xdp", ""),
            (&[xdp], "xdp", "--bpf-lb-acceleration cannot be used with this kernel, which lacks XDP"),
        ] {
            let result = check(&balancing(options), &support(missing));
            let text = result.err().map(|error| format!("{error:#}")).unwrap_or_default();
            assert!(
                text.starts_with(refusal) && text.is_empty() == refusal.is_empty(),
                "{options:?} {missing}: {text}"
            );
        }
    }
}
