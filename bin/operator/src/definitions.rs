//! Registers the custom resources and waits until the API server serves them.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
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
    for crd in kube_api::all_crds().context("the definitions of the custom resources")? {
        let name = crd.metadata.name.clone().unwrap_or_default();
        if register {
            write(clients, &crd, &name).await;
        }
        wait(clients, &name).await;
    }
    tracing::info!("all custom resources are established");
    Ok(())
}

async fn write(clients: &Clients, crd: &CustomResourceDefinition, name: &str) {
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
    let mut told = false;
    loop {
        let found = clients.get::<CustomResourceDefinition>(&Key::new("", name)).await;
        if found.as_ref().is_ok_and(established) {
            return;
        }
        if !told {
            let error = found.err().as_ref().map_or_else(String::new, ApiError::describe);
            tracing::info!(crd = %name, %error, "waiting for a custom resource to be established");
            told = true;
        }
        sleep(POLL).await;
    }
}

fn established(crd: &CustomResourceDefinition) -> bool {
    let conditions = crd.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Established" && condition.status == "True")
}
