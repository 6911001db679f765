//! `cilium config`: the ConfigMap that agents and operator read at their start.

use crate::cli::{ConfigCommand, ReachArgs};
use crate::cluster::{self, Reach};
use crate::output::{Answer, say};
use anyhow::{Context, Result, anyhow, ensure};
use api::table::{Columns, layout_as};
use serde_json::{Value, json};
use std::fmt::Write;

/// Columns of this command's tables.
const COLUMNS: Columns = Columns { least: 0, gap: 4 };

pub(crate) async fn run(command: &ConfigCommand) -> Result<Answer> {
    match command {
        ConfigCommand::View { reach } => {
            let reach = cluster::reach(reach).await?;
            Ok(Answer::text(view(&read(&reach).await?)))
        }
        ConfigCommand::Set { key, value, restart, reach } => change(reach, key, Some(value), *restart).await,
        ConfigCommand::Delete { key, restart, reach } => change(reach, key, None, *restart).await,
    }
}

/// Path of the ConfigMap.
pub(crate) fn path(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps/cilium-config")
}

async fn read(reach: &Reach) -> Result<Value> {
    cluster::find(&reach.clients, &path(&reach.namespace)).await?.with_context(|| {
        format!(
            "there is no ConfigMap cilium-config in {}: is Cilium installed there (cilium install), or in another \
             namespace (--namespace)?",
            reach.namespace
        )
    })
}

fn view(config: &Value) -> String {
    let mut text = String::new();
    for (key, value) in config["data"].as_object().into_iter().flatten() {
        // Writing to a String cannot fail.
        let _ =
            writeln!(text, "{key}\t{}", value.as_str().unwrap_or_default().trim_end().replace('\n', "\n\t"));
    }
    layout_as(&text, COLUMNS)
}

async fn change(args: &ReachArgs, key: &str, value: Option<&String>, restart: bool) -> Result<Answer> {
    let reach = cluster::reach(args).await?;
    let config = read(&reach).await?;
    match value {
        Some(value) => say(format!("✨ Patching ConfigMap cilium-config with {key}={value}...")),
        None => {
            ensure!(config["data"].get(key).is_some(), "cilium-config has no key {key}: nothing is changed");
            say(format!("✨ Removing key {key} from ConfigMap cilium-config..."));
        }
    }
    let patch = json!({ "data": { key: value } });
    reach
        .clients
        .merge_at(&path(&reach.namespace), &patch)
        .await
        .map_err(|error| anyhow!("{}", error.describe()))?;
    if restart {
        let pods = format!("/api/v1/namespaces/{}/pods?labelSelector=k8s-app%3Dcilium", reach.namespace);
        reach.clients.delete_at(&pods).await.map_err(|error| anyhow!("{}", error.describe()))?;
        say("♻️  Restarted Cilium pods");
    } else {
        say("⚠️  Restart Cilium pods for this to take effect");
    }
    Ok(Answer::text(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_stand_under_each_other() {
        let config = json!({ "data": { "agent-health-port": "9879", "b": "", "debug": "false\n" } });
        assert_eq!(
            view(&config),
            "agent-health-port    9879\nb                    \ndebug                false\n"
        );
    }
}
