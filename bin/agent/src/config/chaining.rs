//! Options of running beside other CNI plugins.

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::refusals::refusal;
use super::{Config, IpamMode, Options, text};

/// Which plugins a pod's network is made by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Ours alone.
    Alone,
    /// Ours, then the reference plugin `portmap`.
    Portmap,
    /// Flannel's, then ours.
    Flannel,
    /// Any that makes a veth pair, then ours.
    GenericVeth,
}

impl Mode {
    /// Cilium's name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Mode::Alone => "none",
            Mode::Portmap => "portmap",
            Mode::Flannel => "flannel",
            Mode::GenericVeth => "generic-veth",
        }
    }

    /// Whether another plugin gives pods their addresses and links.
    pub(crate) const fn is_behind(self) -> bool {
        matches!(self, Mode::Flannel | Mode::GenericVeth)
    }
}

/// How the CNI configuration comes about.
#[derive(Clone, Debug)]
pub(crate) struct Chaining {
    /// Beside whom.
    pub mode: Mode,
    /// The file that holds the configuration to write.
    pub given: Option<PathBuf>,
}

pub(super) fn parse(options: &Options) -> Result<Chaining> {
    let modes = [Mode::Alone, Mode::Portmap, Mode::Flannel, Mode::GenericVeth];
    let raw = options.get("cni-chaining-mode");
    let Some(mode) = modes.into_iter().find(|mode| mode.name() == raw) else {
        bail!("--cni-chaining-mode={raw} is not supported: use none, portmap, flannel or generic-veth");
    };
    Ok(Chaining { mode, given: text(options, "read-cni-conf").map(PathBuf::from) })
}

/// Refuses what cannot be used together.
pub(super) fn check(config: &Config) -> Result<()> {
    let Chaining { mode, given } = &config.chaining;
    if *mode == Mode::GenericVeth && config.paths.cni_conf.is_some() && given.is_none() {
        return Err(refusal("chain-config", &[]));
    }
    let fields = [("mode", mode.name())];
    if mode.is_behind() && config.tunnel() {
        return Err(refusal("chain-routing", &fields));
    }
    if mode.is_behind() && config.ipam == IpamMode::Kubernetes {
        return Err(refusal("chain-ipam", &fields));
    }
    Ok(())
}
