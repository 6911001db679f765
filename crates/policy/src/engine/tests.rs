use super::*;
use crate::rule::{Direction, Entity, Owner, PortRule, Protocol, Subject, Verdict};
use types::Selector;

fn labels(i: u32) -> Labels {
    Labels::parse([format!("k8s:app=n{i}").as_str(), "k8s:io.kubernetes.pod.namespace=shop"]).unwrap()
}

fn rule(i: u32) -> Rule {
    let app = format!("n{i}");
    let none: [(&str, &str, Vec<&str>); 0] = [];
    let peers = match i % 4 {
        0 => Peer::Endpoints(Selector::new([("app", app.as_str())], none, &types::Source::K8s).unwrap()),
        1 => Peer::Cidr {
            prefix: "10.0.0.0/8".parse().unwrap(),
            except: ["10.1.0.0/16".parse().unwrap()].into(),
            owner: [Owner::Outside, Owner::OutsideOrNode, Owner::Anyone][i as usize / 4 % 3],
        },
        2 => Peer::Entity(Entity::Cluster),
        _ => Peer::All,
    };
    Rule {
        peers: vec![peers],
        ports: vec![PortRule::Named { protocol: Protocol::TCP, name: "http".into() }, PortRule::ANY],
        verdict: if i.is_multiple_of(3) { Verdict::Deny } else { Verdict::Allow },
        audit: i.is_multiple_of(5),
        ..Rule::allow(Subject::Endpoints(Selector::everything()), Direction::BOTH[i as usize % 2])
    }
}

/// A long-lived agent must not grow: what came and went leaves no trace.
#[test]
fn what_came_and_went_leaves_nothing() {
    let mut engine = Engine::new(Options::default());
    for round in 0..3 {
        for i in 0..40 {
            engine.apply(
                PolicyOrigin::builtin(&format!("p{}", i % 7)),
                (0..i % 5).map(|n| rule(i + n)).collect(),
            );
            let info = IdentityInfo {
                labels: labels(i),
                named_ports: NamedPorts::from([("http".into(), [(6, 80 + i as u16)].into())]),
            };
            engine.set_identities([(NumericIdentity(300 + i % 11), Some(info))].into());
            let subject = SubjectInfo { labels: labels(i), ..SubjectInfo::default() };
            engine.set_subject(u64::from(i % 6), Some(subject));
        }
        assert!(!engine.tables.is_empty() && !engine.cache.has_no_peers(), "round {round}");
        for i in 0..6 {
            engine.set_subject(i, None);
        }
        assert!(engine.tables.is_empty(), "round {round}");
        for i in 0..7 {
            engine.remove(&PolicyOrigin::builtin(&format!("p{i}")));
        }
        assert!(engine.repository.is_empty() && engine.cache.has_no_peers(), "round {round}");
    }
}
