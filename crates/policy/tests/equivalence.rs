//! What the tables say to a packet is what the rules say.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod common;

use axoneme_policy::*;
use common::naive::{self, End, Says};
use common::{Case, case, engine, identities, origin};
use proptest::prelude::*;
use types::{Labels, NumericIdentity, PolicyKind};

proptest! {
    #![proptest_config(ProptestConfig { cases: 2500, ..ProptestConfig::default() })]

    #[test]
    fn tables_say_what_the_rules_say(case in case()) {
        check(&case)?;
    }
}

fn check(case: &Case) -> Result<(), TestCaseError> {
    let mut engine = engine(&case.options, &case.policies);
    engine.set_subject(1, Some(case.subject.clone()));
    let table = engine.table(engine.table_of(1).unwrap()).unwrap();
    let rules: Vec<Rule> = case.policies.iter().flatten().cloned().collect();
    let all = identities(case.options.families);
    for packet in &case.packets {
        let find = |id| {
            let known = all.iter().find(|(known, _)| *known == id).map(|(_, info)| info.clone());
            known.unwrap_or(IdentityInfo::of(Labels::none()))
        };
        let (info, around) = (find(packet.peer), find(packet.block).labels);
        let peer = End { labels: &info.labels, around: &around, named_ports: &info.named_ports };
        // An identity that nobody told us of is matched by no peer but everyone, and by its address.
        let expected = match packet.peer {
            NumericIdentity(9999) => {
                let only_all: Vec<Rule> = rules.iter().cloned().map(without_selectors).collect();
                naive::evaluate(&case.options, &only_all, &case.subject, &peer, packet)
            }
            _ => naive::evaluate(&case.options, &rules, &case.subject, &peer, packet),
        };
        let block = if table.blocks { packet.block } else { NumericIdentity::UNKNOWN };
        let hit = table.lookup(packet.peer, block, packet.direction, packet.protocol, packet.port);
        let seen = said(hit);
        prop_assert!(agrees(&seen, &expected), "{packet:?}: table {seen:?}, rules {expected:?}\n{table:#?}");
        let told = engine.explain(&case.subject, packet);
        prop_assert_eq!(told.outcome.passes(), expected != Says::Drop, "{}", told);
        prop_assert_eq!(told.outcome == Outcome::Audited, matches!(expected, Says::Audit(_)), "{}", told);
        reasons(case, &engine, &table, hit, packet, &peer)?;
    }
    Ok(())
}

/// Every rule behind a cookie must have had a say in it.
fn reasons(
    case: &Case,
    engine: &Engine,
    table: &PolicyTable,
    hit: Option<Hit>,
    packet: &Packet,
    peer: &End,
) -> Result<(), TestCaseError> {
    let cookie = hit.map_or(table.deny_cookie(packet.direction), |hit| hit.entry.cookie);
    if hit.is_some_and(|hit| hit.entry.flags == abi::tables::POLICY_UNENFORCED) {
        return Ok(());
    }
    let named = engine.cookie(cookie);
    prop_assert!(
        named.is_some_and(|rules| !rules.is_empty()),
        "a verdict without a reason: {packet:?} {hit:?}"
    );
    for reference in named.unwrap_or_default() {
        if reference.origin.kind == PolicyKind::Builtin {
            continue;
        }
        let number = (0..case.policies.len()).find(|n| origin(*n) == *reference.origin).unwrap();
        let rule = &case.policies[number][reference.index as usize];
        let matches = naive::matches(&case.options, rule, &case.subject, peer, packet);
        prop_assert!(matches || rule.default_deny, "{reference} has no say in {packet:?}");
        prop_assert_eq!(rule.direction, packet.direction);
    }
    Ok(())
}

fn said(hit: Option<Hit>) -> Says {
    let Some(hit) = hit else { return Says::Drop };
    let proxies = Some(u16::from_be(hit.entry.proxy_port)).filter(|port| *port != 0).into_iter().collect();
    match (hit.denies(), hit.audited()) {
        (true, _) => Says::Drop,
        (_, true) => Says::Audit(proxies),
        _ => Says::Pass(proxies),
    }
}

/// Of proxies with equal rights any will do.
fn agrees(seen: &Says, expected: &Says) -> bool {
    match (seen, expected) {
        (Says::Pass(seen), Says::Pass(expected)) | (Says::Audit(seen), Says::Audit(expected)) => {
            seen.is_empty() == expected.is_empty() && seen.iter().all(|port| expected.contains(port))
        }
        _ => seen == expected,
    }
}

fn without_selectors(mut rule: Rule) -> Rule {
    let stays = |peer: &Peer| {
        // Who is not known is no node.
        let by_address = |owner: &Owner| matches!(owner, Owner::Anyone | Owner::OutsideOrPod);
        matches!(peer, Peer::All | Peer::Entity(Entity::All))
            || matches!(peer, Peer::Cidr { owner, .. } if by_address(owner))
    };
    rule.peers.retain(stays);
    rule
}

proptest! {
    #[test]
    fn kernel_keys_read_back(case in case()) {
        let mut engine = engine(&case.options, &case.policies);
        engine.set_subject(1, Some(case.subject.clone()));
        let table = engine.table(engine.table_of(1).unwrap()).unwrap();
        for (key, entry) in &table.entries {
            prop_assert_eq!(TableKey::from_abi(key.prefix_len(), &key.abi()), Some(*key));
            prop_assert_eq!(key.l4.bits, entry.bits);
        }
    }
}
