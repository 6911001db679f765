//! Registers the custom resources and waits until the API server serves them.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube_watch::kube::ResourceExt;
use kube_watch::{ApiError, Clients, Key};
use tokio::time::sleep;

use crate::act::MANAGER;

const POLL: Duration = Duration::from_millis(250);
const RETRY: Duration = Duration::from_secs(2);

/// Returns once all definitions are established, however long the API server takes. With `register` they are written
/// first, otherwise somebody else has to.
///
/// # Errors
/// Only if the definitions cannot be made, which no later try would change.
pub(crate) async fn ensure(clients: &Clients, register: bool) -> Result<()> {
    let crds = kube_api::all_crds().context("the definitions of the custom resources")?;
    // All are written before the first is waited for: the server establishes them side by side.
    if register {
        for crd in &crds {
            write(clients, crd).await;
        }
    }
    for crd in &crds {
        wait(clients, &crd.name_any()).await;
    }
    tracing::info!("all custom resources are established");
    Ok(())
}

async fn write(clients: &Clients, crd: &CustomResourceDefinition) {
    let name = crd.name_any();
    loop {
        match clients.register_crd(MANAGER, crd).await {
            Ok(written) => return tracing::debug!(crd = %name, written, "custom resource registered"),
            Err(error) => {
                tracing::warn!(crd = %name, error = error.describe(), "cannot register a custom resource; trying on");
                sleep(RETRY).await;
            }
        }
    }
}

async fn wait(clients: &Clients, name: &str) {
    let mut tries = 0_u32;
    loop {
        let found = clients.get::<CustomResourceDefinition>(&Key::new("", name)).await;
        if found.as_ref().is_ok_and(established) {
            return;
        }
        tries += 1;
        // Normally it takes a moment; after that somebody should know.
        if tries.is_multiple_of(20) {
            let error = found.err().as_ref().map_or_else(String::new, ApiError::describe);
            tracing::info!(crd = %name, %error, "still waiting for a custom resource to be established");
        }
        sleep(POLL).await;
    }
}

fn established(crd: &CustomResourceDefinition) -> bool {
    let conditions = crd.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Established" && condition.status == "True")
}
