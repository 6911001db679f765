//! What a set of rules says to one packet.

use crate::cookies::{Cookies, RuleHandle};
use crate::engine::EnforcementMode;
use crate::program::Bound;
use crate::repository::{Compiled, level};
use crate::rule::{Rule, Tier};
use abi::{PolicyEntry, tables};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use types::PolicyOrigin;

/// What becomes of a packet, how strongly, and by which rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) action: Action,
    pub(crate) precedence: u32,
    /// Sorted, each once.
    pub(crate) rules: Vec<RuleHandle>,
}

/// What becomes of a packet. Ports are in host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Unenforced,
    Allow,
    Redirect(u16),
    Deny,
    DefaultDeny,
    /// Passes because the denial is a dry run; to the proxy if other rules say so.
    Audited(Option<u16>),
}

/// The tiers that end in "deny everything", and the rules that make them.
#[derive(Debug)]
pub(crate) struct Closed {
    tiers: [ClosedTier; 3],
}

#[derive(Debug, Default)]
struct ClosedTier {
    /// Rules that are no dry run.
    enforced: Vec<RuleHandle>,
    /// All.
    all: Vec<RuleHandle>,
}

/// Rules, and how to judge by them.
#[derive(Debug)]
pub(crate) struct Judge {
    pub(crate) rules: Vec<Bound>,
    pub(crate) closed: Closed,
    pub(crate) layered: bool,
    /// Whether the host is let in at the end of the normal tier.
    pub(crate) host: bool,
    /// The level that is asked first: precedences count from it.
    top: u32,
}

static ALLOW_LOCALHOST: LazyLock<RuleHandle> =
    LazyLock::new(|| RuleHandle::new(Arc::new(PolicyOrigin::builtin("allow-localhost-ingress")), 0, None));
static ALWAYS: LazyLock<RuleHandle> =
    LazyLock::new(|| RuleHandle::new(Arc::new(PolicyOrigin::builtin("policy-enforcement-always")), 0, None));

const TIERS: [Tier; 3] = [Tier::Admin, Tier::Normal, Tier::Baseline];

impl Decision {
    /// Whether a packet fares the same, for the same reasons.
    pub(crate) fn same_effect(&self, other: &Decision) -> bool {
        self.action == other.action && self.rules == other.rules
    }

    pub(crate) fn is_default_deny(&self) -> bool {
        self.action == Action::DefaultDeny
    }

    /// The same, with the precedence that ends a lookup.
    pub(crate) fn final_word(&self) -> Self {
        Self { precedence: u32::MAX, ..self.clone() }
    }

    /// The entry for a key of `bits` bits. Takes a reference on its cookie.
    pub(crate) fn entry(&self, bits: u8, cookies: &mut Cookies) -> PolicyEntry {
        let (flags, port) = match self.action {
            Action::Unenforced => (tables::POLICY_UNENFORCED, 0),
            Action::Allow => (0, 0),
            Action::Redirect(port) => (0, port),
            Action::Deny | Action::DefaultDeny => (tables::POLICY_DENY, 0),
            Action::Audited(None) => (tables::POLICY_DENY | tables::POLICY_AUDITED, 0),
            Action::Audited(Some(port)) => (tables::POLICY_AUDITED, port),
        };
        PolicyEntry {
            precedence: self.precedence,
            cookie: cookies.acquire(&self.rules),
            proxy_port: port.to_be(),
            flags,
            bits,
        }
    }
}

impl Closed {
    /// Which tiers `rules` close for a pod, of which `audit` says whether all of it is a dry run.
    pub(crate) fn new(rules: &[Bound], mode: EnforcementMode, audit: bool) -> Self {
        let mut tiers = <[ClosedTier; 3]>::default();
        for (number, tier) in tiers.iter_mut().enumerate() {
            let closing =
                rules.iter().filter(|b| b.rule.rule.default_deny && b.rule.rule.tier as usize == number);
            tier.all = one_a_policy(closing.clone());
            tier.enforced = one_a_policy(closing.filter(|b| !b.audited));
        }
        let normal = &mut tiers[Tier::Normal as usize];
        if mode == EnforcementMode::Always && normal.enforced.is_empty() {
            normal.all.push(ALWAYS.clone());
            normal.all.sort();
            if !audit {
                normal.enforced.push(ALWAYS.clone());
            }
        }
        Self { tiers }
    }

    /// Whether anything is dropped for want of a rule that lets it through.
    pub(crate) fn closes(&self) -> bool {
        self.tiers.iter().any(|tier| !tier.enforced.is_empty())
    }

    /// The first tier that is closed, be it a dry run.
    pub(crate) fn first_tier(&self) -> Option<Tier> {
        TIERS.into_iter().find(|tier| !self.tiers[*tier as usize].all.is_empty())
    }

    /// Whether a dry run closes what would otherwise be open.
    pub(crate) fn is_dry(&self) -> bool {
        self.tiers.iter().any(|tier| tier.all.len() > tier.enforced.len())
    }

    fn by(&self, tier: Tier, dry: bool) -> &[RuleHandle] {
        let tier = &self.tiers[tier as usize];
        if dry { &tier.all } else { &tier.enforced }
    }
}

impl Judge {
    pub(crate) fn new(rules: Vec<Bound>, closed: Closed, layered: bool, host: bool) -> Self {
        let levels = rules.iter().map(|bound| bound.rule.level());
        // The host's own access has a level, too.
        let top = levels.min().unwrap_or_else(host_level).min(host_level());
        Self { rules, closed, layered, host, top }
    }

    /// Leaves only the rules that nothing stronger covers.
    pub(crate) fn strongest(&self, covering: &mut Vec<u32>) {
        let strength = |rule: &u32| self.strength(&self.rules[*rule as usize].rule);
        if let Some(most) = covering.iter().map(strength).max() {
            covering.retain(|rule| strength(rule) == most);
        }
    }

    /// What becomes of a packet that exactly these rules match. `host`: it comes from the pod's own node, which is let in.
    pub(crate) fn decide(&self, covering: &[u32], host: bool) -> Decision {
        let enforced = self.ask(covering, false, host);
        if !self.layered || matches!(enforced.action, Action::Deny | Action::DefaultDeny) {
            return enforced;
        }
        let dry = self.ask(covering, true, host);
        match (enforced.action, dry.action) {
            (Action::Redirect(port), Action::Deny | Action::DefaultDeny) => {
                Decision { action: Action::Audited(Some(port)), ..dry }
            }
            (_, Action::Deny | Action::DefaultDeny) => Decision { action: Action::Audited(None), ..dry },
            // A dry run that would allow is worth being named, but sends nothing to a proxy.
            (Action::Unenforced, Action::Allow | Action::Redirect(_)) => {
                Decision { action: Action::Allow, ..dry }
            }
            _ => enforced,
        }
    }

    /// The verdict of the tiers in their order; `dry` heeds dry runs, too.
    fn ask(&self, covering: &[u32], dry: bool, host: bool) -> Decision {
        for tier in TIERS {
            let of_tier = covering
                .iter()
                .map(|rule| &self.rules[*rule as usize])
                .filter(|bound| bound.rule.rule.tier == tier && (dry || !bound.audited));
            let most = of_tier.clone().map(|bound| self.strength(&bound.rule)).max();
            if let Some(precedence) = most {
                let winners = of_tier.filter(|bound| self.strength(&bound.rule) == precedence);
                match verdict(precedence, winners.clone()) {
                    Some(action) => return Decision { action, precedence, rules: handles(winners) },
                    None => continue,
                }
            }
            if tier == Tier::Normal && host {
                let precedence = self.precedence(host_level(), 1);
                return Decision { action: Action::Allow, precedence, rules: vec![ALLOW_LOCALHOST.clone()] };
            }
            let by = self.closed.by(tier, dry);
            if !by.is_empty() {
                return Decision { action: Action::DefaultDeny, precedence: 0, rules: by.to_vec() };
            }
        }
        Decision { action: Action::Unenforced, precedence: 1, rules: Vec::new() }
    }

    fn strength(&self, rule: &Compiled) -> u32 {
        self.precedence(rule.level(), rule.class())
    }

    /// The kernel's form: bits 31–8 grow with importance, the low byte tells deny, redirect and allow apart.
    fn precedence(&self, level: u32, class: u8) -> u32 {
        ((0x00ff_ffff - (level - self.top)) << 8) | u32::from(class)
    }
}

/// The level at which the host is let in: behind every rule of the normal tier.
fn host_level() -> u32 {
    level(Tier::Normal as u8, Rule::MAX_PRIORITY + 1)
}

/// What rules of this precedence say; `None` for pass.
fn verdict<'a>(precedence: u32, winners: impl Iterator<Item = &'a Bound>) -> Option<Action> {
    match precedence & 0xff {
        0 => None,
        1 => Some(Action::Allow),
        255 => Some(Action::Deny),
        _ => {
            let ports = winners.filter_map(|bound| bound.rule.rule.redirect.map(|redirect| redirect.port));
            Some(Action::Redirect(ports.min().unwrap_or_default()))
        }
    }
}

fn handles<'a>(rules: impl Iterator<Item = &'a Bound>) -> Vec<RuleHandle> {
    let mut handles: Vec<RuleHandle> = rules.map(|bound| bound.rule.handle.clone()).collect();
    handles.sort();
    handles.dedup();
    handles
}

/// The first rule of each policy: enough to name who closes a direction.
fn one_a_policy<'a>(rules: impl Iterator<Item = &'a Bound>) -> Vec<RuleHandle> {
    let mut first: BTreeMap<&PolicyOrigin, &RuleHandle> = BTreeMap::new();
    let mut last: Option<&RuleHandle> = None;
    for bound in rules {
        let handle = &bound.rule.handle;
        // A policy's rules mostly come one after the other.
        let later = |last: &RuleHandle| {
            let (last, this) = (last.reference(), handle.reference());
            Arc::ptr_eq(&last.origin, &this.origin) && last.index < this.index
        };
        if last.replace(handle).is_some_and(later) {
            continue;
        }
        let kept = first.entry(&handle.reference().origin).or_insert(handle);
        if handle.reference().index < kept.reference().index {
            *kept = handle;
        }
    }
    let mut handles: Vec<RuleHandle> = first.into_values().cloned().collect();
    handles.sort();
    handles
}
