//! Rules of CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy.

use policy::{Direction, Peer, PortRule, Rule, Subject, Verdict};

use super::path::{Path, Problem, Refused};
use super::peers::Peers;
use super::{Side, ports, selectors};
use crate::policies::CiliumPolicy;
use crate::ports::{IcmpRule, PortDenyRule, PortRule as WrittenPorts};
use crate::rule::{self, Authentication, Unknown};

/// How far a policy reaches.
pub(super) enum Scope<'a> {
    /// Pods of this namespace.
    Namespace(&'a str),
    /// Everything.
    Cluster,
}

/// All rules of a policy object.
pub(super) fn rules<P: CiliumPolicy>(policy: &P, scope: &Scope<'_>) -> Result<Vec<Rule>, Refused> {
    let written = policy.rules();
    if written.is_empty() {
        return Err(Path::ROOT.key("spec").refuse(Problem::NoRule));
    }
    let mut rules = Vec::new();
    for (place, rule) in written {
        rules.extend(one(rule, scope, &Path::ROOT.key(&place))?);
    }
    Ok(rules)
}

fn one(rule: &rule::Rule, scope: &Scope<'_>, path: &Path<'_>) -> Result<Vec<Rule>, Refused> {
    known(&rule.unknown, path)?;
    let subject = subject(rule, scope, path)?;
    if rule.ingress.is_none()
        && rule.ingress_deny.is_none()
        && rule.egress.is_none()
        && rule.egress_deny.is_none()
    {
        return Err(path.refuse(Problem::NoDirection));
    }
    let wanted = rule.enable_default_deny.unwrap_or_default();
    let mut rules = ingress(
        rule,
        scope,
        path,
        Side::new(
            &subject,
            Direction::Ingress,
            wanted.ingress.unwrap_or_else(|| filled(&rule.ingress) || filled(&rule.ingress_deny)),
        ),
    )?;
    rules.extend(egress(
        rule,
        scope,
        path,
        Side::new(
            &subject,
            Direction::Egress,
            wanted.egress.unwrap_or_else(|| filled(&rule.egress) || filled(&rule.egress_deny)),
        ),
    )?);
    let log = rule.log.as_ref().and_then(|log| log.value.clone()).filter(|text| !text.is_empty());
    rules.iter_mut().for_each(|rule| rule.log.clone_from(&log));
    Ok(rules)
}

/// What closes the directions of a policy that cannot be applied. One that denies closes also where it asks for no default:
/// nobody knows what it would have denied.
pub(super) fn closing<P: CiliumPolicy>(policy: &P, scope: &Scope<'_>) -> Vec<Rule> {
    let mut rules = Vec::new();
    for (place, rule) in policy.rules() {
        let Ok(subject) = subject(rule, scope, &Path::ROOT.key(&place)) else { continue };
        let wanted = rule.enable_default_deny.unwrap_or_default();
        // A field that nobody knows may be a direction, misspelt.
        let unknown = !rule.unknown.is_empty();
        let sides = [
            (Direction::Ingress, wanted.ingress, filled(&rule.ingress), filled(&rule.ingress_deny)),
            (Direction::Egress, wanted.egress, filled(&rule.egress), filled(&rule.egress_deny)),
        ];
        for (direction, wanted, allows, denies) in sides {
            if denies || wanted.unwrap_or(allows || unknown) {
                rules.extend(Side::new(&subject, direction, true).finish());
            }
        }
    }
    rules
}

/// An empty list of rules is as good as none: the policy is not about that direction.
fn filled<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_some_and(|list| !list.is_empty())
}

fn subject(rule: &rule::Rule, scope: &Scope<'_>, path: &Path<'_>) -> Result<Subject, Refused> {
    match (&rule.endpoint_selector, &rule.node_selector, scope) {
        (Some(selector), None, _) => {
            selectors::subject(selector, scope, &path.key("endpointSelector")).map(Subject::Endpoints)
        }
        (None, Some(_), Scope::Namespace(_)) => {
            Err(path.key("nodeSelector").refuse(Problem::NodesInNamespace))
        }
        (None, Some(selector), Scope::Cluster) => {
            selectors::subject(selector, scope, &path.key("nodeSelector")).map(Subject::Nodes)
        }
        _ => Err(path.refuse(Problem::Subject)),
    }
}

fn ingress(
    rule: &rule::Rule,
    scope: &Scope<'_>,
    path: &Path<'_>,
    mut side: Side,
) -> Result<Vec<Rule>, Refused> {
    let list = path.key("ingress");
    for (index, written) in rule.ingress.iter().flatten().enumerate() {
        let path = list.index(index);
        known(&written.unknown, &path)?;
        authentication(written.authentication.as_ref(), &path)?;
        let peers = Peers::of_ingress(&written.peers).convert(scope, &path)?;
        let ports = allowed_ports(written.to_ports.as_deref(), written.icmps.as_deref(), &path)?;
        push(&mut side, Verdict::Allow, peers, ports);
    }
    let list = path.key("ingressDeny");
    for (index, written) in rule.ingress_deny.iter().flatten().enumerate() {
        let path = list.index(index);
        known(&written.unknown, &path)?;
        let peers = Peers::of_ingress(&written.peers).convert(scope, &path)?;
        let ports = denied_ports(written.to_ports.as_deref(), written.icmps.as_deref(), &path)?;
        push(&mut side, Verdict::Deny, peers, ports);
    }
    Ok(side.finish())
}

fn egress(
    rule: &rule::Rule,
    scope: &Scope<'_>,
    path: &Path<'_>,
    mut side: Side,
) -> Result<Vec<Rule>, Refused> {
    let list = path.key("egress");
    for (index, written) in rule.egress.iter().flatten().enumerate() {
        let path = list.index(index);
        known(&written.unknown, &path)?;
        authentication(written.authentication.as_ref(), &path)?;
        let peers =
            Peers::of_egress(&written.peers).with_names(written.to_fqdns.as_deref()).convert(scope, &path)?;
        let ports = allowed_ports(written.to_ports.as_deref(), written.icmps.as_deref(), &path)?;
        push(&mut side, Verdict::Allow, peers, ports);
    }
    let list = path.key("egressDeny");
    for (index, written) in rule.egress_deny.iter().flatten().enumerate() {
        let path = list.index(index);
        known(&written.unknown, &path)?;
        let peers = Peers::of_egress(&written.peers).convert(scope, &path)?;
        let ports = denied_ports(written.to_ports.as_deref(), written.icmps.as_deref(), &path)?;
        push(&mut side, Verdict::Deny, peers, ports);
    }
    Ok(side.finish())
}

/// Joins what a rule says of peers and of ports; what it does not speak of is anyone and anything, but a rule that
/// speaks of neither fits nothing: `ingress: [{}]` is how one closes a direction.
fn push(side: &mut Side, verdict: Verdict, peers: Option<Vec<Peer>>, ports: Option<Vec<PortRule>>) {
    if peers.is_some() || ports.is_some() {
        side.push(
            verdict,
            peers.unwrap_or_else(|| vec![Peer::All]),
            ports.unwrap_or_else(|| vec![PortRule::ANY]),
        );
    }
}

fn allowed_ports(
    to_ports: Option<&[WrittenPorts]>,
    icmps: Option<&[IcmpRule]>,
    path: &Path<'_>,
) -> Result<Option<Vec<PortRule>>, Refused> {
    let list = path.key("toPorts");
    for (index, written) in to_ports.into_iter().flatten().enumerate() {
        let path = list.index(index);
        known(&written.unknown, &path)?;
        ports::no_layer7(written, &path)?;
    }
    let lists = to_ports.map(|all| all.iter().map(|written| written.ports.as_deref()).collect());
    ports::convert(lists, icmps, Verdict::Allow, path)
}

fn denied_ports(
    to_ports: Option<&[PortDenyRule]>,
    icmps: Option<&[IcmpRule]>,
    path: &Path<'_>,
) -> Result<Option<Vec<PortRule>>, Refused> {
    let list = path.key("toPorts");
    for (index, written) in to_ports.into_iter().flatten().enumerate() {
        known(&written.unknown, &list.index(index))?;
    }
    let lists = to_ports.map(|all| all.iter().map(|written| written.ports.as_deref()).collect());
    ports::convert(lists, icmps, Verdict::Deny, path)
}

fn authentication(written: Option<&Authentication>, path: &Path<'_>) -> Result<(), Refused> {
    match written {
        Some(written) if written.mode != "disabled" => {
            Err(path.key("authentication").refuse(Problem::Unsupported { feature: "mutual authentication" }))
        }
        _ => Ok(()),
    }
}

/// Refuses what nobody knows: it may be a restriction.
pub(super) fn known(unknown: &Unknown, path: &Path<'_>) -> Result<(), Refused> {
    match unknown.keys().next() {
        Some(field) => Err(path.key(field).refuse(Problem::UnknownField)),
        None => Ok(()),
    }
}
