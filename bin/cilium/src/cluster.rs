//! What there is: pods, namespaces and policies, from the API server or from files.

use crate::cli::{Enforcement, KnownArgs};
use crate::files;
use anyhow::{Context, Result, anyhow};
use kube_watch::{ApiConfig, Clients};
use policy::EnforcementMode;
use serde_json::Value;
use std::path::PathBuf;
use whatif::{Document, Inventory};

/// A cluster as far as policy cares.
pub(crate) struct Known {
    pub(crate) inventory: Inventory,
    /// `policyEnforcementMode`.
    pub(crate) mode: EnforcementMode,
    /// Its name.
    pub(crate) name: String,
}

/// Kinds to read; the last ones may be missing from a cluster.
const LISTS: [&str; 9] = [
    "/api/v1/namespaces",
    "/api/v1/pods",
    "/api/v1/services",
    "/api/v1/nodes",
    "/apis/discovery.k8s.io/v1/endpointslices",
    "/apis/cilium.io/v2/ciliumcidrgroups",
    "/apis/networking.k8s.io/v1/networkpolicies",
    "/apis/cilium.io/v2/ciliumnetworkpolicies",
    "/apis/cilium.io/v2/ciliumclusterwidenetworkpolicies",
];
const CONFIG: &str = "/api/v1/namespaces/kube-system/configmaps/cilium-config";

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
    let mut documents = Vec::new();
    for list in LISTS {
        match clients.read_all(list).await {
            Ok(objects) => documents.extend(objects.into_iter().map(Document::of)),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(anyhow!("{}", error.describe())),
        }
    }
    let settings = match clients.read(CONFIG).await {
        Ok(config) => config,
        Err(error) if error.is_not_found() => Value::Null,
        Err(error) => return Err(anyhow!("{}", error.describe())),
    };
    let setting = |key: &str| settings.get("data").and_then(|data| data.get(key)).and_then(Value::as_str);
    let mode = match setting("enable-policy") {
        Some("always") => EnforcementMode::Always,
        Some("never") => EnforcementMode::Never,
        _ => EnforcementMode::Default,
    };
    let name = setting("cluster-name").unwrap_or("default").to_owned();
    let mut inventory = Inventory::read(&documents, &name, "default");
    let mut modes = setting("policy-cidr-match-mode").unwrap_or_default().split([',', ' ']);
    inventory.cidr_match.nodes = modes.clone().any(|mode| mode == "nodes");
    inventory.cidr_match.pods = modes.any(|mode| mode == "pods");
    let inventory =
        if setting("policy-audit-mode") == Some("true") { inventory.under_audit() } else { inventory };
    Ok(Known { inventory, mode, name })
}
