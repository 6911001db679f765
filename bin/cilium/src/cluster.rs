//! What there is: pods, namespaces and policies, from the API server or from files.

use crate::cli::{Enforcement, KnownArgs, ReachArgs};
use crate::files;
use anyhow::{Context, Result, anyhow};
use kube_watch::{ApiConfig, Clients};
use policy::EnforcementMode;
use serde_json::Value;
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

/// The way to a cluster.
pub(crate) struct Reach {
    /// What it was made of.
    pub(crate) config: ApiConfig,
    /// The connection.
    pub(crate) clients: Clients,
    /// Namespace that Cilium runs in.
    pub(crate) namespace: String,
}

/// Sets the way to a cluster up; nothing is sent yet.
pub(crate) async fn reach(args: &ReachArgs) -> Result<Reach> {
    let config = api_config(args.kubeconfig.as_ref(), args.context.as_ref());
    let clients =
        Clients::new(&config).await.context("no way to the cluster: name a kubeconfig with --kubeconfig")?;
    Ok(Reach { config, clients, namespace: args.namespace.clone() })
}

fn api_config(kubeconfig: Option<&PathBuf>, context: Option<&String>) -> ApiConfig {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".kube/config"));
    ApiConfig {
        kubeconfig: kubeconfig.cloned().or(home),
        context: context.cloned(),
        user_agent: Some(concat!("cilium/", env!("CARGO_PKG_VERSION")).to_owned()),
        ..ApiConfig::default()
    }
}

/// The object at a path, or `None`.
pub(crate) async fn find(clients: &Clients, path: &str) -> Result<Option<Value>> {
    match clients.read(path).await {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(anyhow!("{}", error.describe())),
    }
}

/// All objects below a path; none if the server does not have their kind.
pub(crate) async fn list(clients: &Clients, path: &str) -> Result<Vec<Value>> {
    match clients.read_all(path).await {
        Ok(objects) => Ok(objects),
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        Err(error) => Err(anyhow!("{}", error.describe())),
    }
}

async fn of_cluster(args: &KnownArgs) -> Result<Known> {
    let clients = Clients::new(&api_config(args.kubeconfig.as_ref(), None)).await.context(
        "no way to the cluster (--kubeconfig): name a kubeconfig, or give files with --pods and --policies",
    )?;
    let (objects, settings) =
        clients.policy_world().await.map_err(|error| anyhow!("{}", error.describe()))?;
    let Cluster { inventory, mode, name, .. } = Cluster::of(objects, &settings);
    Ok(Known { inventory, mode, name })
}
