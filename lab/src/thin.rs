//! Thin nodes.

use anyhow::{Result, bail};

use crate::layout::{Lab, Machine, Spec};
use crate::machine::Handle;

/// Starts the agents of thin nodes.
pub(crate) fn start(_lab: &Lab, _spec: &Spec, _nodes: &[(&Machine, &Handle)]) -> Result<()> {
    bail!("thin nodes come in a later step")
}
