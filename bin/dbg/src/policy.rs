//! `policy get` and `policy selectors`.

use crate::cli::PolicyCommand;
use crate::output::render;
use anyhow::{Result, bail};
use api::policy::{Policy, Selector};
use api::table;
use api::{Client, paths};
use std::fmt::Write;

pub(crate) fn run(client: &Client, command: &PolicyCommand) -> Result<String> {
    match command {
        PolicyCommand::Get(format) => {
            let policy: Policy = client.get(paths::POLICY)?;
            render(format.output.as_ref(), &policy, |policy| {
                format!("{}\nRevision: {}\n", policy.policy.trim_end(), policy.revision)
            })
        }
        PolicyCommand::Selectors { verbose, format } => {
            let selectors: Vec<Selector> = client.get(paths::POLICY_SELECTORS)?;
            render(format.output.as_ref(), &selectors, |selectors| list(selectors, *verbose))
        }
        PolicyCommand::Trace(_) | PolicyCommand::Explain(_) => bail!("traces and flows are not handled here"),
    }
}

/// One identity a line. Without `verbose` a rule is named by its labels `namespace` and `name` alone.
fn list(selectors: &[Selector], verbose: bool) -> String {
    let mut text = "SELECTOR\tLABELS\tUSERS\tIDENTITIES\n".to_owned();
    for selector in selectors {
        let labels = if verbose { all_labels(selector) } else { short_name(selector) };
        let mut identities = selector.identities.iter();
        let first = identities.next().map(u32::to_string).unwrap_or_default();
        let _ = writeln!(text, "{}\t{labels}\t{}\t{first}\t", selector.selector, selector.users);
        for identity in identities {
            let _ = writeln!(text, "\t\t\t{identity}\t");
        }
    }
    table::layout(&text)
}

fn all_labels(selector: &Selector) -> String {
    let label = |l: &api::policy::Label| format!("{}:{}={}", l.source, l.key, l.value);
    selector.labels.iter().map(label).collect::<Vec<_>>().join(",")
}

fn short_name(selector: &Selector) -> String {
    let value = |key: &str| {
        let key = format!("io.cilium.k8s.policy.{key}");
        selector.labels.iter().find(|label| label.key == key).map(|label| label.value.as_str())
    };
    let parts: Vec<&str> = [value("namespace"), value("name")].into_iter().flatten().collect();
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_name_their_policies() {
        let selectors: Vec<Selector> = serde_json::from_value(json!([
            { "selector": "&LabelSelector{app=web}", "identities": [12345, 12346], "users": 2, "labels": [
                { "source": "k8s", "key": "io.cilium.k8s.policy.namespace", "value": "default" },
                { "source": "k8s", "key": "io.cilium.k8s.policy.name", "value": "web" } ] },
            { "selector": "reserved:none", "users": 1 },
        ]))
        .expect("selectors");
        let expected = "\
SELECTOR                  LABELS        USERS   IDENTITIES
&LabelSelector{app=web}   default/web   2       12345   
                                                12346   
reserved:none                           1               
";
        let seen = list(&selectors, false);
        let trim = |text: &str| text.lines().map(|l| l.trim_end().to_owned()).collect::<Vec<_>>();
        assert_eq!(trim(&seen), trim(expected));
        assert!(list(&selectors, true).contains("k8s:io.cilium.k8s.policy.namespace=default,k8s:io.cilium"));
    }
}
