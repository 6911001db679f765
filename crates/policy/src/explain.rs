use crate::cookies::RuleRef;
use crate::decide::Action;
use crate::engine::{EnforcementMode, Options, SubjectInfo};
use crate::ports;
use crate::program::Program;
use crate::repository::Compiled;
use crate::rule::{Direction, NamedPorts, Tier, Verdict};
use crate::selector_cache::SelectorCache;
use crate::table::L4Key;
use std::fmt;
use std::sync::Arc;
use types::{Labels, NumericIdentity};

/// A packet to explain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Which way it goes, seen from the subject.
    pub direction: Direction,
    /// Who is at the other end.
    pub peer: NumericIdentity,
    /// The narrowest block around its address, if it is no prefix itself; [`NumericIdentity::UNKNOWN`] = not known.
    pub block: NumericIdentity,
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

/// Reads the rules one by one, then lets the engine's own judge decide over those that fit.
pub(crate) fn explain(
    subject: &SubjectInfo,
    packet: &Packet,
    rules: &[Arc<Compiled>],
    cache: &SelectorCache,
    options: &Options,
) -> Explanation {
    let rules: Vec<Arc<Compiled>> = match options.mode {
        EnforcementMode::Never => Vec::new(),
        _ => rules.iter().filter(|rule| rule.rule.direction == packet.direction).cloned().collect(),
    };
    let known = cache.identity_of(packet.peer);
    let no_ports = NamedPorts::new();
    let (labels, peer_ports) =
        known.map_or((Labels::none(), &no_ports), |i| (i.labels.clone(), &i.named_ports));
    let receiver = match packet.direction {
        Direction::Ingress => &subject.named_ports,
        Direction::Egress => peer_ports,
    };
    let whole = L4Key::port(packet.protocol, packet.port);
    let fits = |rule: &Compiled| {
        let peer = rule.fits(packet.peer, packet.block, cache);
        let named = ports::named(&rule.named, receiver);
        (peer, rule.keys.iter().chain(&named).any(|key| key.covers(&whole)))
    };
    let mut steps: Vec<(u32, u8, RuleStep)> = rules
        .iter()
        .map(|rule| {
            let (peer_matches, port_matches) = fits(rule);
            let step = RuleStep {
                rule: rule.handle.reference().clone(),
                verdict: rule.rule.verdict,
                tier: rule.rule.tier,
                priority: rule.rule.priority,
                audit: rule.rule.audit || subject.audit,
                peer_matches,
                port_matches,
            };
            (rule.level(), u8::MAX - rule.class(), step)
        })
        .collect();
    steps.sort_by(|a, b| (a.0, a.1, &a.2.rule).cmp(&(b.0, b.1, &b.2.rule)));
    let program = Program::new(packet.direction, &rules, &subject.named_ports, subject.audit, options);
    let decision = program.judge_packet(packet.peer, |rule| fits(rule) == (true, true));
    let mut because: Vec<RuleRef> = decision.rules.iter().map(|rule| rule.reference().clone()).collect();
    because.sort();
    Explanation {
        packet: packet.clone(),
        subject: subject.labels.clone(),
        peer: labels,
        rules: steps.into_iter().map(|(_, _, step)| step).collect(),
        outcome: match decision.action {
            Action::Unenforced => Outcome::Unenforced,
            Action::Allow => Outcome::Allowed,
            Action::Redirect(port) => Outcome::Redirected(port),
            Action::Deny => Outcome::Denied,
            Action::DefaultDeny => Outcome::DefaultDenied,
            Action::Audited(_) => Outcome::Audited,
        },
        because,
    }
}

impl Outcome {
    /// Whether the packet passes.
    pub fn passes(self) -> bool {
        !matches!(self, Outcome::Denied | Outcome::DefaultDenied)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Unenforced => f.write_str("allowed (no policy closes this direction)"),
            Outcome::Allowed => f.write_str("allowed"),
            Outcome::Redirected(port) => write!(f, "allowed, through the proxy at port {port}"),
            Outcome::Denied => f.write_str("denied by a deny rule"),
            Outcome::DefaultDenied => f.write_str("denied: no rule allows it"),
            Outcome::Audited => f.write_str("allowed in audit mode, would be denied"),
        }
    }
}

impl fmt::Display for RuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rule {}", self.origin, self.index)
    }
}

/// For people: the rules that match, in the order they are asked, then the outcome and what it is due to.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Packet { direction, peer, protocol, port, .. } = &self.packet;
        let (subject, other) = (&self.subject, &self.peer);
        writeln!(f, "{direction} of [{subject}], peer {peer} [{other}], protocol {protocol} port {port}")?;
        let matching = self.rules.iter().filter(|step| step.peer_matches && step.port_matches);
        for step in matching.clone() {
            let dry = if step.audit { ", audit" } else { "" };
            let RuleStep { rule, verdict, tier, priority, .. } = step;
            writeln!(f, "  {verdict}: {rule} (tier {tier}, priority {priority}{dry})")?;
        }
        let selecting = self.rules.len();
        writeln!(f, "  {} of {selecting} rules of this direction match", matching.count())?;
        write!(f, "{}", self.outcome)?;
        for (i, rule) in self.because.iter().enumerate() {
            write!(f, "{}{rule}", if i == 0 { ", by " } else { ", " })?;
        }
        Ok(())
    }
}
