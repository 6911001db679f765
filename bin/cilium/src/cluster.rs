//! What there is: pods, namespaces and policies, from the API server or from files.

use crate::cli::{Enforcement, KnownArgs};
use crate::files;
use anyhow::{Context, Result, anyhow};
use kube_watch::{ApiConfig, Clients};
use policy::EnforcementMode;
use std::path::PathBuf;
use whatif::{Cluster, Document, Inventory};

/// A cluster as far as policy cares.
pub(crate) struct Known {
    pub(crate) inventory: Inventory,
    /// `policyEnforcementMode`.
    pub(crate) mode: EnforcementMode,
    /// Its name.
    pub(crate) name: String,
}

/// Reads the files that were given, or else the cluster.
pub(crate) async fn read(args: &KnownArgs, namespace: &str) -> Result<Known> {
    if args.is_files() { of_files(args, namespace) } else { of_cluster(args).await }
}

fn of_files(args: &KnownArgs, namespace: &str) -> Result<Known> {
    let mut documents: Vec<Document> = Vec::new();
    for source in files::read(&args.pods)?.into_iter().chain(files::read(&args.policies)?) {
        if let Some((position, why)) = source.documents.broken.first() {
            return Err(anyhow!("{}:{}:{}: {why}", source.name, position.line, position.column));
        }
        documents.extend(source.documents.objects);
    }
    let mode = match args.enforcement {
        Enforcement::Default => EnforcementMode::Default,
        Enforcement::Always => EnforcementMode::Always,
        Enforcement::Never => EnforcementMode::Never,
    };
    let inventory = Inventory::read(&documents, &args.cluster_name, namespace);
    Ok(Known { inventory, mode, name: args.cluster_name.clone() })
}

async fn of_cluster(args: &KnownArgs) -> Result<Known> {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".kube/config"));
    let kubeconfig = args.kubeconfig.clone().or(home);
    let config = ApiConfig {
        kubeconfig,
        user_agent: Some(concat!("cilium/", env!("CARGO_PKG_VERSION")).to_owned()),
        ..ApiConfig::default()
    };
    let clients = Clients::new(&config).await.context(
        "no way to the cluster (--kubeconfig): name a kubeconfig, or give files with --pods and --policies",
    )?;
    let (objects, settings) =
        clients.policy_world().await.map_err(|error| anyhow!("{}", error.describe()))?;
    let Cluster { inventory, mode, name, .. } = Cluster::of(objects, &settings);
    Ok(Known { inventory, mode, name })
}
