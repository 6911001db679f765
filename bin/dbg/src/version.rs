//! `version`.

use crate::cli::Output;
use crate::output::render;
use anyhow::Result;
use api::{Client, paths, status::Version};
use serde::Serialize;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Both {
    client: Version,
    #[serde(skip_serializing_if = "Option::is_none")]
    daemon: Option<Version>,
}

/// The client's version is told even when the agent is away; that it is away, too.
pub(crate) fn run(client: &Client, args: &Output) -> Result<String> {
    let platform = format!("{}/{}", std::env::consts::OS, go_arch(std::env::consts::ARCH));
    let own = Version { version: env!("CARGO_PKG_VERSION").to_owned(), revision: String::new(), platform };
    let (daemon, why) = match client.get::<Version>(paths::VERSION) {
        Ok(version) => (Some(version), String::new()),
        Err(error) => (None, error.to_string()),
    };
    render(args.output.as_ref(), &Both { client: own, daemon }, |both| {
        let daemon = both.daemon.as_ref().map_or_else(|| format!("unknown: {why}"), line);
        format!("Client: {}\nDaemon: {daemon}\n", line(&both.client))
    })
}

fn line(version: &Version) -> String {
    let parts = [&version.version, &version.revision, &version.platform];
    parts.into_iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(" ")
}

/// Architectures have the names Go gives them, as in Kubernetes.
fn go_arch(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
