//! Rules that never decide anything, because others do before them.

use super::{Applicable, Finding, Say};
use crate::inventory::Inventory;
use crate::place::Place;
use policy::{Direction, Entity, Owner, Peer, PortRule, Protocol, Rule, Subject, Verdict};
use types::{Selector, Source};

/// A rule and where it is from.
struct Placed<'a> {
    /// Which of the file's policies; none for one that is in force.
    owner: Option<usize>,
    title: &'a str,
    place: String,
    rule: &'a Rule,
}

pub(super) fn check(policies: &[Applicable<'_>], cluster: Option<&Inventory>, findings: &mut Vec<Finding>) {
    let mut all: Vec<Placed<'_>> = Vec::new();
    for (owner, policy) in policies.iter().enumerate() {
        let places = kube_api::rule_places(&policy.object);
        for (rule, place) in policy.rules.iter().zip(places).filter(|(rule, _)| !kube_api::is_closing(rule)) {
            all.push(Placed { owner: Some(owner), title: &policy.title, place, rule });
        }
    }
    let own: Vec<&str> = policies.iter().map(|policy| policy.title.as_str()).collect();
    let in_force: Vec<(String, &Vec<Rule>)> = cluster
        .into_iter()
        .flat_map(|cluster| &cluster.policies)
        .map(|(origin, rules)| (origin.to_string(), rules))
        // What the file replaces does not count any more.
        .filter(|(title, _)| !own.contains(&title.as_str()))
        .collect();
    for (title, rules) in &in_force {
        for rule in rules.iter().filter(|rule| !kube_api::is_closing(rule)) {
            all.push(Placed { owner: None, title, place: String::new(), rule });
        }
    }
    for (number, placed) in all.iter().enumerate() {
        let Some(policy) = placed.owner.and_then(|owner| policies.get(owner)) else { continue };
        let others = all.iter().enumerate().filter(|(other, _)| *other != number);
        let Some(text) = others.clone().find_map(|(other, by)| told(placed, by, other < number)) else {
            continue;
        };
        let mut say = Say { document: policy.document, title: policy.title.clone(), findings };
        say.warn(&Place::default().parse(&placed.place, &policy.object), text);
    }
}

/// What `by` does to `placed`; `earlier` breaks the tie between two that say the same.
fn told(placed: &Placed<'_>, by: &Placed<'_>, earlier: bool) -> Option<String> {
    let (rule, other) = (placed.rule, by.rule);
    let before = (other.tier, other.priority) < (rule.tier, rule.priority);
    let level = (other.tier, other.priority) == (rule.tier, rule.priority);
    if !(before || level) || (other.audit && !rule.audit) || !covers(other, rule) {
        return None;
    }
    let name = if by.place.is_empty() { by.title.to_owned() } else { format!("{} {}", by.title, by.place) };
    match (other.verdict, rule.verdict) {
        (Verdict::Pass, _) | (_, Verdict::Pass) => None,
        (Verdict::Deny, Verdict::Allow) => Some(format!(
            "the rule has no effect: {name} denies all that it allows; remove it, or narrow the denial"
        )),
        (Verdict::Allow, Verdict::Deny) if before => {
            Some(format!("the rule has no effect: {name} allows all that it denies, and is asked first"))
        }
        (Verdict::Allow, Verdict::Deny) => None,
        // Who allows the same in another policy may have other reasons, and go for them.
        (one, two) if one == two && placed.owner == by.owner && other.redirect == rule.redirect => {
            let same = covers(rule, other);
            (!same || earlier)
                .then(|| format!("the rule adds nothing: {name} says the same already; remove it"))
        }
        _ => None,
    }
}

/// Whether every packet that `rule` fits is one that `other` fits.
fn covers(other: &Rule, rule: &Rule) -> bool {
    let subjects = match (&other.subject, &rule.subject) {
        (Subject::Endpoints(wide), Subject::Endpoints(narrow)) => selects(wide, narrow),
        (Subject::Nodes(wide), Subject::Nodes(narrow)) => selects(wide, narrow),
        _ => false,
    };
    let by_name = |port: &PortRule| matches!(port, PortRule::Named { .. });
    subjects
        && other.direction == rule.direction
        && rule.peers.iter().all(|narrow| other.peers.iter().any(|wide| peer_covers(wide, narrow)))
        && rule.ports.iter().all(|narrow| other.ports.iter().any(|wide| port_covers(wide, narrow)))
        // Names of ports are the receiver's: those of peers may differ.
        && !(rule.direction == Direction::Egress && rule.ports.iter().any(by_name) && rule.peers != other.peers)
}

/// Whether all that `narrow` selects is selected by `wide`, as far as their requirements tell.
fn selects(wide: &Selector, narrow: &Selector) -> bool {
    wide.requirements().all(|requirement| narrow.requirements().any(|other| other == requirement))
}

fn peer_covers(wide: &Peer, narrow: &Peer) -> bool {
    match (wide, narrow) {
        (Peer::All | Peer::Entity(Entity::All), _)
        | (Peer::Entity(Entity::World), Peer::Cidr { owner: Owner::Outside, .. }) => true,
        // A selector means hosts and prefixes only where it asks for them.
        (Peer::Endpoints(wide), Peer::Endpoints(narrow)) => {
            let asks = |selector: &Selector, source| selector.requires_source(&source);
            let alike = |source: Source| asks(wide, source.clone()) == asks(narrow, source);
            alike(Source::Reserved) && alike(Source::Cidr) && selects(wide, narrow)
        }
        (Peer::Cidr { prefix: wide, except, owner }, Peer::Cidr { prefix: narrow, owner: inner, .. })
            if except.is_empty() && (owner == inner || *owner == Owner::Anyone) =>
        {
            wide.contains(narrow)
        }
        (wide, narrow) => wide == narrow,
    }
}

fn port_covers(wide: &PortRule, narrow: &PortRule) -> bool {
    let within = |wide: Protocol, narrow: Protocol| wide == Protocol::Any || wide == narrow;
    match (wide, narrow) {
        (PortRule::Protocol(Protocol::Any), _) => true,
        (PortRule::Protocol(wide), PortRule::Protocol(narrow)) => wide == narrow,
        (
            PortRule::Protocol(wide),
            PortRule::Ports { protocol: narrow, .. } | PortRule::Named { protocol: narrow, .. },
        ) => wide == narrow,
        (PortRule::Protocol(wide), PortRule::Icmp(_)) => *wide == Protocol::ICMP,
        (PortRule::Protocol(wide), PortRule::Icmpv6(_)) => *wide == Protocol::ICMPV6,
        (
            PortRule::Ports { protocol: wide, first, last },
            PortRule::Ports { protocol: narrow, first: from, last: to },
        ) => within(*wide, *narrow) && first <= from && to <= last,
        (PortRule::Named { protocol: wide, name }, PortRule::Named { protocol: narrow, name: other }) => {
            within(*wide, *narrow) && name == other
        }
        (wide, narrow) => wide == narrow,
    }
}
