//! The parts of `services`: connections to services beside connections to the same pod by its own address, and beside
//! kube-proxy; how fast changes and whole tables come to the kernel; memory.
//!
//! All worlds have one API server and the same services: our agent runs on thin nodes, kube-proxy 1.34 in namespaces
//! beside them whose pods have the same addresses ([`peer`]). Services have no selector and hand-made EndpointSlices.

mod change;
mod connect;
mod early;
mod field;
pub(crate) mod inside;
mod maglev;
mod node_port;
mod objects;
mod peer;
mod plot;
mod processes;
mod rounds;
mod scale;
mod spot;
mod store;

use anyhow::Result;
use clap::ValueEnum;

use crate::figure::{Figure, Figures};
use crate::suite;

/// A part of the suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Maglev tables, computed
    Maglev,
    /// From outside to a node port
    NodePort,
    /// A node port before the stack
    Xdp,
    /// Changes, restarts and memory with many services
    Scale,
    /// From pod to cluster IP, with more and more services
    Connect,
}

impl suite::Part for Part {
    const ALL: &'static [Self] = &[Part::Maglev, Part::NodePort, Part::Xdp, Part::Scale, Part::Connect];

    fn figures(self, quick: bool) -> Vec<Figure> {
        match self {
            Part::Maglev => maglev::figures(),
            Part::NodePort => node_port::figures(),
            Part::Xdp => early::figures(),
            Part::Scale => scale::figures(scale::Effort::new(quick)),
            Part::Connect => connect::figures(connect::Effort::new(quick)),
        }
    }

    fn prefixes(self) -> &'static [&'static str] {
        match self {
            Part::Maglev => maglev::PREFIXES,
            Part::NodePort => node_port::PREFIXES,
            Part::Xdp => early::PREFIXES,
            Part::Scale => scale::PREFIXES,
            Part::Connect => connect::PREFIXES,
        }
    }

    fn measure(self, figures: &mut Figures, quick: bool) -> Result<()> {
        match self {
            Part::Maglev => maglev::measure(figures),
            Part::NodePort => node_port::measure(figures, rounds::Effort::new(quick)),
            Part::Xdp => early::measure(figures, rounds::Effort::new(quick)),
            Part::Scale => scale::measure(figures, scale::Effort::new(quick)),
            Part::Connect => connect::measure(figures, connect::Effort::new(quick)),
        }
    }
}
