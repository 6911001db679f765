//! `lrp list`.

use crate::cli::LrpCommand;
use crate::output::render;
use crate::service::host_port;
use anyhow::Result;
use api::lrp::{FrontendMapping, LocalRedirectPolicy};
use api::table;
use api::{Client, paths};
use std::fmt::Write;

pub(crate) fn run(client: &Client, command: &LrpCommand) -> Result<String> {
    let LrpCommand::List(format) = command;
    let policies: Vec<LocalRedirectPolicy> = client.get(paths::LRP)?;
    render(format.output.as_ref(), &policies, |policies| list(policies))
}

/// The table, one frontend a line below its policy.
fn list(policies: &[LocalRedirectPolicy]) -> String {
    let mut text = "LRP namespace\tLRP name\tFrontendType\tMatching Service\n".to_owned();
    for policy in policies {
        let LocalRedirectPolicy { namespace, name, frontend_type, service_id, .. } = policy;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{namespace}\t{name}\t{frontend_type}\t{service_id}");
        for mapping in &policy.frontend_mappings {
            let _ = writeln!(text, "\t|\t{}", line(mapping));
        }
    }
    table::layout(&text)
}

/// `169.254.169.254:80/TCP -> 10.0.0.9:8080(default/proxy), `: each backend ends in a comma, as Cilium has it.
fn line(mapping: &FrontendMapping) -> String {
    let frontend = &mapping.frontend_address;
    let mut line = format!("{}/{} -> ", host_port(&frontend.ip, frontend.port), frontend.protocol);
    for backend in &mapping.backends {
        let address = &backend.backend_address;
        let _ = write!(line, "{}({}), ", host_port(&address.ip, address.port), backend.pod_id);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_and_their_pods() {
        let policies: Vec<LocalRedirectPolicy> = serde_json::from_value(serde_json::json!([
            { "namespace": "kube-system", "name": "dns", "frontend-type": "clusterIP + all svc ports", "lrp-type": "svc",
              "service-id": "kube-system/kube-dns", "frontend-mappings": [
                { "frontend-address": { "ip": "10.96.0.10", "port": 53, "protocol": "UDP" }, "backends": [
                    { "pod-id": "kube-system/cache-1", "backend-address": { "ip": "10.0.0.9", "port": 5353 } },
                    { "pod-id": "kube-system/cache-2", "backend-address": { "ip": "10.0.0.10", "port": 5353 } } ] } ] },
            { "namespace": "n", "name": "meta", "frontend-type": "IP + port", "lrp-type": "addr", "frontend-mappings": [
                { "frontend-address": { "ip": "fd00::a9fe", "port": 80, "protocol": "TCP" }, "backends": [] } ] },
        ]))
        .unwrap();
        let lines: Vec<String> = list(&policies).lines().map(str::to_owned).collect();
        assert_eq!(
            lines,
            [
                "LRP namespace   LRP name   FrontendType                Matching Service",
                "kube-system     dns        clusterIP + all svc ports   kube-system/kube-dns",
                "                |          10.96.0.10:53/UDP -> 10.0.0.9:5353(kube-system/cache-1), 10.0.0.10:5353(kube-system/cache-2), ",
                "n               meta       IP + port   ",
                "                |          [fd00::a9fe]:80/TCP -> ",
            ]
        );
    }
}
