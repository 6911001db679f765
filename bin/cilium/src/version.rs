//! `cilium version`, and the completion of commands.

use crate::cli::{Cli, VersionArgs};
use crate::cluster;
use crate::output::Answer;
use anyhow::Result;
use clap::CommandFactory;
use serde_json::Value;

/// Version of this program, and of the chart inside it.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(crate) async fn run(args: &VersionArgs) -> Result<Answer> {
    let own = client();
    if args.client {
        return Ok(Answer::text(own));
    }
    let running = match running(args).await {
        Ok(Some(version)) => version,
        Ok(None) => format!(
            "unknown. Unable to obtain cilium version, no cilium pods found in namespace {:?}",
            args.reach.namespace
        ),
        Err(error) => format!("unknown. Unable to obtain cilium version. Reason: {error:#}"),
    };
    Ok(Answer::text(format!("{own}cilium image (running): {running}\n")))
}

fn client() -> String {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("cilium-cli: v{VERSION} on linux/{arch}\ncilium image (default): v{VERSION}\n")
}

/// The tag of the image that agents run.
async fn running(args: &VersionArgs) -> Result<Option<String>> {
    let reach = cluster::reach(&args.reach).await?;
    let path = format!("/apis/apps/v1/namespaces/{}/daemonsets/cilium", reach.namespace);
    Ok(cluster::find(&reach.clients, &path).await?.as_ref().and_then(agent_image).map(|image| tag(&image)))
}

/// The image of the agent, from its DaemonSet.
pub(crate) fn agent_image(daemonset: &Value) -> Option<String> {
    let containers = daemonset.pointer("/spec/template/spec/containers")?.as_array()?;
    let agent = containers.iter().find(|container| container["name"] == "cilium-agent")?;
    agent["image"].as_str().map(str::to_owned)
}

/// What stands behind the last `:` of an image's name, without its digest.
fn tag(image: &str) -> String {
    let name = image.split('@').next().unwrap_or(image);
    match name.rsplit_once(':') {
        Some((_, tag)) if !tag.contains('/') => tag.strip_prefix('v').unwrap_or(tag).to_owned(),
        _ => "latest".to_owned(),
    }
}

/// The script that completes commands in a shell.
pub(crate) fn completion(shell: clap_complete::Shell) -> Answer {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "cilium", &mut script);
    Answer::text(String::from_utf8_lossy(&script))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn versions_are_tags_of_images() {
        assert_eq!(tag("registry.example/cilium/cilium:v1.15.1@sha256:351d"), "1.15.1");
        assert_eq!(tag("localhost:5000/axoneme/cilium:dev"), "dev");
        assert_eq!(tag("localhost:5000/axoneme/cilium"), "latest");
        let set = json!({"spec": {"template": {"spec": {"containers": [{"name": "x"}, {"name": "cilium-agent", "image": "a/b:c"}]}}}});
        assert_eq!(agent_image(&set).as_deref(), Some("a/b:c"));
    }

    #[test]
    fn every_shell_gets_a_script_that_knows_the_commands() {
        use clap::ValueEnum;
        for shell in clap_complete::Shell::value_variants() {
            let script = completion(*shell).text;
            assert!(script.contains("connectivity") && script.contains("sysdump"), "{shell}");
        }
    }
}
