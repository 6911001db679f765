//! Arguments of `cilium hubble`.

use super::cluster::ReachArgs;
use clap::{ArgAction, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum HubbleCommand {
    /// The relay at a port of this machine, where `hubble` looks for it, until this command is ended
    PortForward {
        /// Port of this machine; 0: any that is free
        #[arg(long = "port-forward", default_value_t = 4245, value_name = "PORT")]
        port: u16,
        #[command(flatten)]
        reach: ReachArgs,
    },
    /// The page at a port of this machine, and in a browser, until this command is ended
    Ui {
        /// Port of this machine; 0: any that is free
        #[arg(long = "port-forward", default_value_t = 12000, value_name = "PORT")]
        port: u16,
        /// Open it in a browser
        #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
        open_browser: bool,
        #[command(flatten)]
        reach: ReachArgs,
    },
}
