//! `cilium policy`.

mod candidate;
mod diff;
mod replay;
mod validate;

use crate::cli::PolicyCommand;
use crate::output::Answer;

pub(crate) async fn run(command: &PolicyCommand) -> anyhow::Result<Answer> {
    match command {
        PolicyCommand::Validate(args) => validate::run(args).await,
        PolicyCommand::Diff(args) => diff::run(args).await,
        PolicyCommand::Replay(args) => replay::run(args).await,
    }
}
