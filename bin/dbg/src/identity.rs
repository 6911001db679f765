//! `identity list` and `identity get`.

use crate::cli::IdentityCommand;
use crate::output::render;
use anyhow::Result;
use api::identity::{Identity, IdentityUse};
use api::table;
use api::{Client, paths};
use std::collections::BTreeMap;
use std::fmt::Write;

pub(crate) fn run(client: &Client, command: &IdentityCommand) -> Result<String> {
    match command {
        IdentityCommand::List { endpoints: true, format, .. } => {
            let mut uses: Vec<IdentityUse> = client.get(paths::IDENTITY_ENDPOINTS)?;
            uses.sort_by_key(|used| used.identity.id);
            render(format.output.as_ref(), &uses, |uses| list_uses(uses))
        }
        IdentityCommand::List { labels, format, .. } => {
            let mut identities: Vec<Identity> = client.get(paths::IDENTITIES)?;
            identities.retain(|identity| labels.iter().all(|label| identity.labels.contains(label)));
            identities.sort_by_key(|identity| identity.id);
            render(format.output.as_ref(), &identities, |identities| list(identities))
        }
        IdentityCommand::Get { id, format } => {
            let identities: [Identity; 1] = [client.get(&paths::identity(*id))?];
            render(format.output.as_ref(), &identities, |identities| list(identities))
        }
    }
}

/// Labels of all identities, to name numbers in other tables.
pub(crate) fn labels(client: &Client) -> Result<BTreeMap<u32, Vec<String>>> {
    let identities: Vec<Identity> = client.get(paths::IDENTITIES)?;
    Ok(identities.into_iter().map(|identity| (identity.id, identity.labels)).collect())
}

fn list(identities: &[Identity]) -> String {
    let mut text = "ID\tLABELS\n".to_owned();
    for identity in identities {
        let _ = writeln!(text, "{}\t{}", identity.id, identity.labels.first().map_or("", String::as_str));
        for label in identity.labels.iter().skip(1) {
            let _ = writeln!(text, "\t{label}");
        }
    }
    table::layout(&text)
}

fn list_uses(uses: &[IdentityUse]) -> String {
    let mut text = "ID\tLABELS\tREFCOUNT\n".to_owned();
    for IdentityUse { identity, ref_count } in uses {
        let first = identity.labels.first().map_or("", String::as_str);
        let _ = writeln!(text, "{}\t{first}\t{ref_count}", identity.id);
        for label in identity.labels.iter().skip(1) {
            let _ = writeln!(text, "\t{label}\t");
        }
    }
    table::layout(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(id: u32, labels: &[&str]) -> Identity {
        Identity { id, labels: labels.iter().map(|l| (*l).to_owned()).collect(), ..Identity::default() }
    }

    #[test]
    fn one_label_a_line() {
        let identities =
            [identity(1, &["reserved:host", "reserved:kube-apiserver"]), identity(12345, &["k8s:app=web"])];
        assert_eq!(
            list(&identities),
            "ID      LABELS\n1       reserved:host\n        reserved:kube-apiserver\n12345   k8s:app=web\n"
        );
        let uses = [IdentityUse { identity: identity(12345, &["k8s:a=b", "k8s:app=web"]), ref_count: 3 }];
        assert_eq!(
            list_uses(&uses),
            "ID      LABELS        REFCOUNT\n12345   k8s:a=b       3\n        k8s:app=web   \n"
        );
    }
}
