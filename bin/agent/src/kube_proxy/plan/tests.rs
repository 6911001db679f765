//! Over what `iptables-save` said on nodes where the real kube-proxy ran (1.34, mode iptables, in the lab).

use super::*;

const V4: &str = include_str!("kube-proxy-1.34.iptables-save");
const V6: &str = include_str!("kube-proxy-1.34.ip6tables-save");

type Table = (BTreeSet<String>, BTreeSet<NfJump>);

/// Chains and jumps of each table.
fn tables(save: &str) -> BTreeMap<String, Table> {
    let mut tables: BTreeMap<String, Table> = BTreeMap::new();
    let mut name = String::new();
    for line in save.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (chains, jumps) = tables.entry(name.clone()).or_default();
        match words[..] {
            [first, ..] if first.starts_with('*') => name = first[1..].to_owned(),
            [first, ..] if first.starts_with(':') => drop(chains.insert(first[1..].to_owned())),
            ["-A", from, ..] => {
                let at = words.iter().position(|word| *word == "-j" || *word == "-g");
                let to = at.map(|at| words[at + 1].to_owned()).filter(|to| chains.contains(to));
                jumps.extend(to.map(|to| NfJump { from: from.to_owned(), to }));
            }
            _ => {}
        }
    }
    tables.remove("");
    tables
}

fn plan(save: &str, table: &str) -> Plan {
    let (chains, jumps) = tables(save).remove(table).expect("the table is there");
    assert!(is_concerned(&chains));
    Plan::new(&chains, &jumps)
}

fn leading(plan: &Plan) -> Vec<(&str, &str)> {
    plan.leading.iter().map(|jump| (jump.from.as_str(), jump.to.as_str())).collect()
}

#[test]
fn all_of_kube_proxy_goes_and_nothing_else() {
    for save in [V4, V6] {
        for (name, (chains, jumps)) in tables(save) {
            let plan = Plan::new(&chains, &jumps);
            let left: Vec<&String> = chains.difference(&plan.remove).collect();
            let others = left.iter().filter(|chain| !HOOKS.contains(&chain.as_str())).collect::<Vec<_>>();
            let kubelets = if name == "filter" { vec!["KUBE-FIREWALL"] } else { vec![] };
            assert_eq!(others, kubelets.iter().collect::<Vec<_>>(), "{name}");
            assert_eq!(plan.kept, BTreeMap::new(), "{name}");
        }
    }
    assert_eq!((plan(V4, "nat").remove.len(), plan(V4, "filter").remove.len()), (17, 6));
    let expected =
        [("OUTPUT", "KUBE-SERVICES"), ("POSTROUTING", "KUBE-POSTROUTING"), ("PREROUTING", "KUBE-SERVICES")];
    assert_eq!(leading(&plan(V6, "nat")), expected);
    let filter = plan(V4, "filter");
    assert!(leading(&filter).contains(&("FORWARD", "KUBE-FORWARD")));
    assert!(!leading(&filter).iter().any(|(_, to)| *to == "KUBE-FIREWALL"), "kubelet's stays hooked");
}

#[test]
fn what_others_use_stays_with_all_that_it_needs() {
    // CRI-O's host ports use kube-proxy's mark, which another chain of kube-proxy acts upon.
    let save = V4.replace(
        "-A KUBE-MARK-MASQ ",
        "-A PREROUTING -j KUBE-HOSTPORTS\n-A KUBE-HOSTPORTS -p tcp --dport 80 -j KUBE-HP-7Z\n-A KUBE-HP-7Z -s 10.9.0.1/32 -j \
         KUBE-MARK-MASQ\n-A KUBE-MARK-MASQ ",
    );
    let save =
        save.replace(":KUBE-MARK-MASQ ", ":KUBE-HOSTPORTS - [0:0]\n:KUBE-HP-7Z - [0:0]\n:KUBE-MARK-MASQ ");
    let plan = plan(&save, "nat");
    let kept: Vec<(&str, &str)> = plan.kept.iter().map(|(chain, user)| (&**chain, &**user)).collect();
    assert_eq!(kept, [("KUBE-MARK-MASQ", "KUBE-HP-7Z"), ("KUBE-POSTROUTING", "KUBE-HP-7Z")]);
    assert_eq!(leading(&plan), [("OUTPUT", "KUBE-SERVICES"), ("PREROUTING", "KUBE-SERVICES")]);
    assert!(!plan.remove.contains("KUBE-HP-7Z") && plan.remove.contains("KUBE-SEP-5PN64JTW7AHN5JH3"));
}

#[test]
fn kubelets_chains_are_not_kube_proxys() {
    // As kubelet before 1.28 makes them, without kube-proxy ever having run.
    let old = "*nat\n:POSTROUTING ACCEPT [0:0]\n:KUBE-KUBELET-CANARY - [0:0]\n:KUBE-MARK-DROP - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n\
               :KUBE-POSTROUTING - [0:0]\n-A POSTROUTING -j KUBE-POSTROUTING\n-A KUBE-MARK-DROP -j MARK --set-xmark 0x8000/0x8000\n\
               -A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\nCOMMIT\n";
    let plan = plan(old, "nat");
    assert_eq!((plan.remove.len(), plan.leading.len(), plan.kept.len()), (0, 0, 2));
    // And since.
    let new = [
        "KUBE-FIREWALL",
        "KUBE-KUBELET-CANARY",
        "KUBE-IPTABLES-HINT",
        "KUBE-HOSTPORTS",
        "CILIUM_OUTPUT",
        "INPUT",
    ];
    assert!(!is_concerned(&new.map(str::to_owned).into_iter().collect()));
}
