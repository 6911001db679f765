//! `cilium status`: the installation at a glance.

mod gather;
mod model;
mod pods;
mod text;

use crate::cli::{StatusArgs, StatusFormat};
use crate::cluster::{self, Reach};
use crate::output::Answer;
use anyhow::{Context, Result, bail};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

pub(crate) use gather::gather;
pub(crate) use model::Installation;
pub(crate) use pods::{Pod, agents};

/// How long to wait between two looks.
const PAUSE: Duration = Duration::from_secs(1);

pub(crate) async fn run(args: &StatusArgs) -> Result<Answer> {
    let reach = cluster::reach(&args.reach).await?;
    let (installation, missing) = match args.wait {
        true => wait(&reach, args.wait_duration.0, args.ignore_warnings).await?,
        false => (gather(&reach).await?, None),
    };
    let text = match args.output {
        StatusFormat::Summary => text::summary(&installation, colours()),
        StatusFormat::Json => {
            serde_json::to_string_pretty(&installation).context("cannot write the answer as JSON")? + "\n"
        }
    };
    let code = u8::from(missing.is_some() || !installation.collection_errors.is_empty());
    if let Some(missing) = missing {
        // Whoever waits for text on standard output still gets it; a terminal that is gone misses nothing.
        let _ = writeln!(std::io::stderr(), "Error: not well after {}: {missing}", args.wait_duration);
    }
    Ok(Answer { text, code })
}

/// Looks until all is well, at most for `patience`; gives the last look and what was still wrong.
async fn wait(reach: &Reach, patience: Duration, lenient: bool) -> Result<(Installation, Option<String>)> {
    let start = Instant::now();
    loop {
        let looked = gather(reach).await;
        let wrong = match &looked {
            Ok(installation) => installation.wrong(lenient),
            Err(error) => Some(format!("{error:#}")),
        };
        match (wrong, looked) {
            (None, Ok(installation)) => return Ok((installation, None)),
            (wrong, looked) if start.elapsed() >= patience => return Ok((looked?, wrong)),
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Waits until an installation is well.
pub(crate) async fn wait_well(reach: &Reach, patience: Duration) -> Result<()> {
    match wait(reach, patience, false).await? {
        (_, None) => Ok(()),
        (installation, Some(wrong)) => {
            bail!("not well after {} s: {wrong}\n{}", patience.as_secs(), text::summary(&installation, false))
        }
    }
}

/// Colours for people only.
fn colours() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}
