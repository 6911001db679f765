//! The CNI configuration: written once pods can be served, kept as it should be.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use cni_conf::{ConfList, Plugins};
use tokio::sync::watch;

use crate::config::chaining::Mode;
use crate::config::{Chaining, Config};
use crate::controllers::Controllers;

/// How often it is looked after.
const INTERVAL: Duration = Duration::from_secs(10);

/// Once pods can be served, the runtime is told so, and told again when somebody else's file gets in the way.
pub(crate) async fn keep(config: Arc<Config>, mut ready: watch::Receiver<bool>, controllers: Controllers) {
    let Some(path) = config.paths.cni_conf.clone() else { return std::future::pending().await };
    // The sender lives as long as the owner.
    let _ = ready.wait_for(|ready| *ready).await;
    let folder = path.parent().map_or_else(|| config.paths.cni_conf_dir.clone(), Path::to_path_buf);
    let mut conf = ConfList::new(folder);
    conf.log_file = Some(config.paths.cni_log.display().to_string());
    conf.debug = config.debug;
    conf.exclusive = config.cni_exclusive;
    let mut announced = false;
    loop {
        let done = put_right(&mut conf, &config.chaining, &mut announced);
        controllers.ran("write-cni-file", &done);
        if let Err(error) = done {
            tracing::error!(error = format!("{error:#}"), "the CNI configuration cannot be written");
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Somebody's own configuration may change at any time; until it can be used, what the node has holds.
fn put_right(conf: &mut ConfList, chaining: &Chaining, announced: &mut bool) -> Result<()> {
    conf.plugins = plugins(chaining)?;
    let actions = conf.ensure()?;
    if !actions.is_empty() {
        tracing::info!(?actions, "put the CNI configuration right");
    }
    if !*announced {
        conf.announce()?;
        *announced = true;
    }
    Ok(())
}

/// The plugins of the CNI configuration.
fn plugins(chaining: &Chaining) -> Result<Plugins> {
    if let Some(path) = &chaining.given {
        let text = std::fs::read_to_string(path).with_context(|| {
            format!("cannot read {} (Helm: cni.configMap and cni.configMapKey)", path.display())
        })?;
        cni_conf::check(&text).with_context(|| format!("{} cannot be used", path.display()))?;
        return Ok(Plugins::Given(text));
    }
    Ok(match chaining.mode {
        Mode::Alone | Mode::GenericVeth => Plugins::Alone,
        Mode::Portmap => Plugins::Portmap,
        Mode::Flannel => Plugins::Flannel,
    })
}
