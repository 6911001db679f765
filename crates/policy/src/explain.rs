use crate::cookies::RuleRef;
use crate::rule::{Direction, Tier, Verdict};
use types::{Labels, NumericIdentity};

/// A packet to explain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Which way it goes, seen from the subject.
    pub direction: Direction,
    /// Who is at the other end.
    pub peer: NumericIdentity,
    /// Protocol number.
    pub protocol: u8,
    /// Destination port in host order; for ICMP the type.
    pub port: u16,
}

/// Which rules a packet meets, and what comes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The packet.
    pub packet: Packet,
    /// Labels of the subject.
    pub subject: Labels,
    /// Labels of the peer; empty if the identity is unknown.
    pub peer: Labels,
    /// Every rule that selects the subject in this direction, in the order they are asked.
    pub rules: Vec<RuleStep>,
    /// What becomes of the packet.
    pub outcome: Outcome,
    /// The rules that decided: those behind the verdict, or those that close the direction.
    pub because: Vec<RuleRef>,
}

/// One rule's part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleStep {
    /// The rule.
    pub rule: RuleRef,
    /// What it says.
    pub verdict: Verdict,
    /// Its tier.
    pub tier: Tier,
    /// Its priority.
    pub priority: u32,
    /// Whether it is a dry run.
    pub audit: bool,
    /// Whether a peer of it fits.
    pub peer_matches: bool,
    /// Whether a port of it fits, too.
    pub port_matches: bool,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Passes: no rule closes the direction.
    Unenforced,
    /// Passes by a rule.
    Allowed,
    /// Passes to the proxy at this port (host order).
    Redirected(u16),
    /// Dropped by a rule.
    Denied,
    /// Dropped because the direction is closed and no rule opens it.
    DefaultDenied,
    /// Passes, and would be dropped were it not for a dry run.
    Audited,
}
