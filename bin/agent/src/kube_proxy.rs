//! What a kube-proxy that ran here before has left on this node: chains of iptables, tables of nf_tables, the device of
//! IPVS. It is told of, and removed only when somebody asks.
//!
//! Every new connection still passes such rules, also those to no service; and a rule that nobody keeps leads to pods that
//! are gone. Open connections do not need them: what was translated stays so in the kernel's connection table.

mod plan;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use api::kube_proxy::{Jump, Kept, Leftovers, Table};
use netlink::{Netfilter, Netlink, NfBackend, NfTable};
use tokio::sync::watch;

/// The table of kube-proxy's nftables mode, one for each family.
const OWN_TABLE: &str = "kube-proxy";
/// The device on which its IPVS mode has the addresses of all services.
const IPVS_DEVICE: &str = "kube-ipvs0";
/// How often this node is looked at again: somebody else may clean up, or start kube-proxy again.
const INTERVAL: Duration = Duration::from_secs(300);
/// How often cleaning begins anew when something changes underway.
const TRIES: u32 = 3;

/// What was found last, for whoever asks.
pub(crate) type Found = watch::Sender<Leftovers>;

/// A file in the state folder that is as old as the last sight of kube-proxy's rules.
const SEEN: &str = "kube-proxy-seen";
/// For how long connections that kube-proxy has translated are let be: no older ones matter.
const TAKEOVER: Duration = Duration::from_secs(24 * 3600);

/// Whether connections from outside may be under way that kube-proxy has translated: its rules are here, or were not
/// long ago.
pub(crate) fn was_here(run_dir: &Path) -> bool {
    let found = find().inspect_err(|error| {
        tracing::warn!(error = format!("{error:#}"), "nobody knows whether kube-proxy was here");
    });
    match found {
        Ok(found) if found != Leftovers::default() => {
            note(run_dir);
            true
        }
        _ => was_seen(run_dir),
    }
}

/// Notes that kube-proxy's rules are here now.
fn note(run_dir: &Path) {
    let file = run_dir.join(SEEN);
    if let Err(error) = std::fs::write(&file, "") {
        tracing::warn!(file = %file.display(), %error, "the next start may not know that kube-proxy was here");
    }
}

/// Whether they were here not long ago.
fn was_seen(run_dir: &Path) -> bool {
    let file = run_dir.join(SEEN);
    let age = std::fs::metadata(file).and_then(|file| file.modified()).map(|seen| seen.elapsed());
    matches!(age, Ok(Ok(age)) if age < TAKEOVER)
}

/// Lets go what was held for connections that kube-proxy began, once they are too old to matter.
fn release(run_dir: &Path) -> Result<()> {
    if was_seen(run_dir) {
        return Ok(());
    }
    let mut netfilter = Netfilter::open().context("cannot ask for the packet filters")?;
    for v6 in [false, true] {
        if netfilter.release_connections(v6).context("cannot remove the table cilium_takeover")? {
            tracing::info!(v6, "connections that kube-proxy began are not held any more");
        }
    }
    Ok(())
}

/// Reads what is there; changes nothing.
///
/// # Errors
/// The kernel does not list its tables.
fn find() -> Result<Leftovers> {
    let mut netfilter = Netfilter::open().context("cannot ask for the packet filters")?;
    let mut tables = Vec::new();
    for table in netfilter.tables().context("cannot list the packet filters")? {
        if is_own(&table) {
            tables.push(Table { whole: true, ..named(&table) });
            continue;
        }
        let chains = netfilter.chains(&table)?;
        // Rules may be many: they are only read where there is something to remove.
        if !plan::is_concerned(&chains) {
            continue;
        }
        let plan = plan::Plan::new(&chains, &netfilter.jumps(&table)?);
        if !plan.remove.is_empty() {
            let jump = |jump: netlink::NfJump| Jump { from: jump.from, to: jump.to };
            let kept = plan.kept.into_iter().map(|(chain, user)| Kept { chain, user });
            tables.push(Table {
                chains: plan.remove.into_iter().collect(),
                rules: plan.leading.into_iter().map(jump).collect(),
                kept: kept.collect(),
                ..named(&table)
            });
        }
    }
    let mut netlink = Netlink::open().context("cannot talk to the kernel's network")?;
    let device = netlink.find_link(IPVS_DEVICE)?.map(|link| link.name);
    Ok(Leftovers { tables, devices: device.into_iter().collect() })
}

/// Removes what [`find`] found, and gives it.
fn remove() -> Result<Leftovers> {
    let found = find()?;
    let mut netfilter = Netfilter::open().context("cannot ask for the packet filters")?;
    for table in &found.tables {
        let place = place(table);
        // The kernel knows of connections, and translates them, only while some rule needs it.
        netfilter.hold_connections(place.v6).context("cannot keep the connections that kube-proxy began")?;
        let done = if table.whole {
            netfilter.remove_table(&place).map(drop)
        } else {
            netfilter.remove_chains(&place, &table.chains.iter().cloned().collect())
        };
        done.with_context(|| format!("cannot remove kube-proxy's rules from the table {}", table.name))?;
    }
    for device in &found.devices {
        Netlink::open()?.delete_link(device).with_context(|| format!("cannot remove the device {device}"))?;
    }
    Ok(found)
}

fn is_own(table: &NfTable) -> bool {
    table.backend == NfBackend::Nftables && table.name == OWN_TABLE
}

fn named(table: &NfTable) -> Table {
    let kind = match table.backend {
        _ if is_own(table) => "nftables",
        NfBackend::Nftables => "iptables-nft",
        NfBackend::Legacy => "iptables-legacy",
    };
    Table {
        kind: kind.to_owned(),
        family: if table.v6 { "IPv6" } else { "IPv4" }.to_owned(),
        name: table.name.clone(),
        ..Table::default()
    }
}

fn place(table: &Table) -> NfTable {
    let backend = if table.kind == "iptables-legacy" { NfBackend::Legacy } else { NfBackend::Nftables };
    NfTable { backend, v6: table.family == "IPv6", name: table.name.clone() }
}

/// What is there, each kind in one phrase.
pub(crate) fn phrases(found: &Leftovers) -> Vec<String> {
    let kinds: BTreeSet<(&str, &str)> =
        found.tables.iter().map(|table| (table.kind.as_str(), table.family.as_str())).collect();
    let phrase = |(kind, family)| {
        let of_kind = found.tables.iter().filter(|table| (&*table.kind, &*table.family) == (kind, family));
        let place = |table: &Table| match table.whole {
            true => format!("the table {}", table.name),
            false if table.chains.len() == 1 => format!("1 chain in {}", table.name),
            false => format!("{} chains in {}", table.chains.len(), table.name),
        };
        let places: Vec<String> = of_kind.map(place).collect();
        format!("{kind} {family}: {}", places.join(", "))
    };
    let devices = found.devices.iter().map(|device| format!("IPVS: the device {device}"));
    kinds.into_iter().map(phrase).chain(devices).collect()
}

/// Looks, without anybody else having to wait.
///
/// # Errors
/// The kernel does not list its tables.
pub(crate) async fn look() -> Result<Leftovers> {
    tokio::task::spawn_blocking(find).await.context("a task has panicked")?
}

/// Removes what is there, and gives it; what is left then goes to `found`.
///
/// # Errors
/// The kernel refuses; some of it may be gone.
pub(crate) async fn clean(found: &Found) -> Result<Leftovers> {
    let mut tries = 1;
    let removed = loop {
        match tokio::task::spawn_blocking(remove).await.context("a task has panicked")? {
            Err(_) if tries < TRIES => tries += 1,
            result => break result,
        }
    };
    found.send_replace(look().await?);
    removed
}

/// Looks from time to time, and tells what is new. With `cleanup` everything is removed once the services are `ready`.
pub(crate) async fn run(
    cleanup: bool,
    run_dir: PathBuf,
    mut ready: watch::Receiver<bool>,
    found: Arc<Found>,
) {
    let mut told = None;
    report(&run_dir, &found, &mut told).await;
    if cleanup {
        // Its sender lives as long as the services do.
        let _ = ready.wait_for(|ready| *ready).await;
        match clean(&found).await {
            Ok(removed) if removed == Leftovers::default() => {}
            Ok(removed) => tracing::info!(
                removed = phrases(&removed).join("; "),
                "removed what kube-proxy had left; if it still runs it makes it again"
            ),
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "what kube-proxy has left cannot be removed")
            }
        }
    }
    loop {
        let dir = run_dir.clone();
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || release(&dir)).await {
            tracing::warn!(error = format!("{error:#}"), "what was held for connections of kube-proxy stays");
        }
        tokio::time::sleep(INTERVAL).await;
        report(&run_dir, &found, &mut told).await;
    }
}

/// Looks, and says what there is if that was not said before.
async fn report(run_dir: &Path, found: &Found, told: &mut Option<Vec<String>>) {
    let now = match look().await {
        Ok(leftovers) => {
            let phrases = phrases(&leftovers);
            if !phrases.is_empty() {
                note(run_dir);
            }
            found.send_replace(leftovers);
            phrases
        }
        Err(error) => {
            return tracing::warn!(error = format!("{error:#}"), "nobody knows what kube-proxy has left");
        }
    };
    if told.as_ref() == Some(&now) {
        return;
    }
    if !now.is_empty() {
        tracing::warn!(
            leftovers = now.join("; "),
            "kube-proxy has left rules on this node, which new connections still pass: end it if it runs, then remove them with \
             `cilium-dbg kube-proxy cleanup`, or on all nodes with --cleanup-kube-proxy=true (chart: kubeProxyReplacementCleanup)"
        );
    }
    *told = Some(now);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_by_kind() {
        let table = |kind: &str, family: &str, name: &str, chains: usize| Table {
            kind: kind.into(),
            family: family.into(),
            name: name.into(),
            whole: chains == 0,
            chains: vec!["KUBE-SERVICES".into(); chains],
            ..Table::default()
        };
        let found = Leftovers {
            tables: vec![
                table("iptables-nft", "IPv4", "filter", 7),
                table("iptables-nft", "IPv6", "nat", 3),
                table("iptables-nft", "IPv4", "nat", 21),
                table("nftables", "IPv4", "kube-proxy", 0),
            ],
            devices: vec!["kube-ipvs0".into()],
        };
        let expected = [
            "iptables-nft IPv4: 7 chains in filter, 21 chains in nat",
            "iptables-nft IPv6: 3 chains in nat",
            "nftables IPv4: the table kube-proxy",
            "IPVS: the device kube-ipvs0",
        ];
        assert_eq!(phrases(&found), expected);
        assert!(phrases(&Leftovers::default()).is_empty());
    }
}
