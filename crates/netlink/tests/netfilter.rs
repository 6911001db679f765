//! Against the real kernel and iptables of both kinds, each test in a network namespace of its own. Needs root.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::time::Duration;

use axoneme_netlink::{LinkChange, NetNs, Netfilter, Netlink, NfBackend, NfJump, NfTable, Untracked, sysctl};

const NAT: &str = "\
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KEPT - [0:0]
:GONE-A - [0:0]
:GONE-B - [0:0]
:LAST - [0:0]
[7:420] -A PREROUTING -p tcp -m tcp --dport 1 -j GONE-A
[1:60] -A PREROUTING -p tcp -m tcp --dport 2
[2:120] -A PREROUTING -p tcp -m tcp --dport 3 -j KEPT
[0:0] -A PREROUTING -j GONE-B
[0:0] -A OUTPUT -g GONE-B
[0:0] -A KEPT -j GONE-B
[3:180] -A KEPT -p udp -m udp --dport 53 -j REDIRECT --to-ports 5353
[0:0] -A KEPT -j LAST
[0:0] -A GONE-A -p tcp -j GONE-B
[0:0] -A GONE-B -m comment --comment \"to nowhere\" -j RETURN
[0:0] -A LAST -p udp -j ACCEPT
COMMIT
";

/// A program's output; `None` if there is no such program.
fn run(program: &str, arguments: &[&str], input: &str) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().ok()?;
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("ended");
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).expect("text"))
}

/// The lines of a table without its comments and the counters of its policies.
fn saved(program: &str) -> Vec<String> {
    let text = run(program, &["-c", "-t", "nat"], "").expect("it was there before");
    let line = |line: &str| match line.strip_prefix(':') {
        Some(chain) => format!(":{}", chain.split(' ').next().unwrap_or_default()),
        None => line.to_owned(),
    };
    text.lines().filter(|line| !line.starts_with('#')).map(line).collect()
}

fn both_kinds(test: impl Fn(&mut Netfilter, &NfTable, &str) + Send + Sync) {
    for (kind, backend) in [("nft", NfBackend::Nftables), ("legacy", NfBackend::Legacy)] {
        for (six, v6) in [("", false), ("6", true)] {
            let test = &test;
            let body = move || {
                let restore = format!("ip{six}tables-{kind}-restore");
                if run(&restore, &["--counters"], NAT).is_none() {
                    return println!("skipped: {restore} is not here");
                }
                let table = NfTable { backend, v6, name: "nat".to_owned() };
                let mut netfilter = Netfilter::open().expect("open");
                assert!(netfilter.tables().expect("tables").contains(&table), "{table:?}");
                test(&mut netfilter, &table, &format!("ip{six}tables-{kind}-save"));
            };
            NetNs::create().expect("a namespace: needs root").run(body).expect("enter the namespace");
        }
    }
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn chains_and_jumps_are_found() {
    both_kinds(|netfilter, table, _| {
        let chains = netfilter.chains(table).expect("chains");
        let all = ["GONE-A", "GONE-B", "INPUT", "KEPT", "LAST", "OUTPUT", "POSTROUTING", "PREROUTING"];
        // iptables-nft makes no chain for a hook that has no rule.
        assert!(chains.is_subset(&names(&all)) && chains.is_superset(&names(&all[..2])), "{chains:?}");
        let jump = |(from, to): (&str, &str)| NfJump { from: from.into(), to: to.into() };
        let expected = [
            ("GONE-A", "GONE-B"),
            ("KEPT", "GONE-B"),
            ("KEPT", "LAST"),
            ("OUTPUT", "GONE-B"),
            ("PREROUTING", "GONE-A"),
            ("PREROUTING", "GONE-B"),
            ("PREROUTING", "KEPT"),
        ];
        let jumps = netfilter.jumps(table).expect("jumps");
        assert_eq!(jumps, expected.map(jump).into_iter().collect(), "{table:?}");
    });
}

#[test]
fn chains_go_with_all_that_leads_to_them_and_the_rest_stays() {
    both_kinds(|netfilter, table, save| {
        let before = saved(save);
        let gone = names(&["GONE-A", "GONE-B", "NEVER-THERE"]);
        netfilter.remove_chains(table, &gone).expect("remove");
        let left: Vec<String> = before.iter().filter(|line| !line.contains("GONE-")).cloned().collect();
        assert_eq!(before.len() - left.len(), 8, "{before:?}");
        assert_eq!(saved(save), left, "{table:?}");
        netfilter.remove_chains(table, &gone).expect("again");
        netfilter.remove_chains(table, &names(&["LAST", "PREROUTING"])).expect("remove");
        let left: Vec<String> = left.into_iter().filter(|line| !line.contains("LAST")).collect();
        assert_eq!(saved(save), left, "{table:?}: a hook's chain stays");
    });
}

#[test]
fn many_chains_go_in_pieces() {
    both_kinds(|netfilter, table, save| {
        let restore = save.replace("save", "restore");
        let many: Vec<String> = (0..3000).map(|i| format!("MANY-{i:04}")).collect();
        let heads: String = many.iter().map(|name| format!(":{name} - [0:0]\n")).collect();
        let jump = |pair: &[String]| format!("-A {} -j {}\n-A OUTPUT -j {}\n", pair[0], pair[1], pair[1]);
        let rules: String = many.chunks(2).map(jump).collect();
        run(&restore, &["--noflush"], &format!("*nat\n{heads}{rules}COMMIT\n")).expect("restored");
        netfilter.remove_chains(table, &many.into_iter().collect()).expect("remove");
        assert!(!saved(save).iter().any(|line| line.contains("MANY")));
        assert!(saved(save).iter().any(|line| line.contains("GONE-A")));
    });
}

#[test]
fn a_table_of_nft_goes_whole() {
    let body = || {
        let rules = "add table ip mine\nadd chain ip mine a\nadd chain ip mine b\nadd rule ip mine a jump b\n\
                     add map ip mine m { type ipv4_addr : verdict; elements = { 1.2.3.4 : goto a }; }\nadd table ip other\n";
        if run("nft", &["-f", "-"], rules).is_none() {
            return println!("skipped: nft is not here");
        }
        let mut netfilter = Netfilter::open().expect("open");
        let table = |name: &str| NfTable { backend: NfBackend::Nftables, v6: false, name: name.into() };
        assert_eq!(netfilter.tables().expect("tables"), [table("mine"), table("other")]);
        assert!(netfilter.remove_table(&table("mine")).expect("remove"));
        assert!(!netfilter.remove_table(&table("mine")).expect("again"));
        assert_eq!(netfilter.tables().expect("tables"), [table("other")]);
    };
    NetNs::create().expect("a namespace: needs root").run(body).expect("enter the namespace");
}

#[test]
fn connections_are_held_and_released() {
    let body = || {
        let mut netfilter = Netfilter::open().expect("open");
        for v6 in [false, true] {
            netfilter.hold_connections(v6).expect("hold");
            netfilter.hold_connections(v6).expect("again");
            if let Some(rules) = run("nft", &["-a", "list", "ruleset", if v6 { "ip6" } else { "ip" }], "") {
                assert!(
                    rules.contains("type nat hook postrouting priority srcnat; policy accept;"),
                    "{rules}"
                );
                assert_eq!(rules.matches("# handle").count(), 3, "table, chain, rule: {rules}");
            }
            assert!(netfilter.release_connections(v6).expect("release"));
            assert!(!netfilter.release_connections(v6).expect("again"));
        }
        assert_eq!(netfilter.tables().expect("tables"), []);
    };
    NetNs::create().expect("a namespace: needs root").run(body).expect("enter the namespace");
}

/// What the kernel's connection table holds.
fn tracked() -> u32 {
    let count = sysctl::get(&["net", "netfilter", "nf_conntrack_count"]).expect("connection tracking");
    count.parse().expect("a number")
}

/// A question and its answer over UDP, from a port that was not used before.
fn talk(address: &str, port: u16) {
    let server = UdpSocket::bind((address, port)).expect("a server");
    let client = UdpSocket::bind((address, 0)).expect("a client");
    let (mut buffer, second) = ([0; 8], Some(Duration::from_secs(1)));
    server.set_read_timeout(second).and_then(|()| client.set_read_timeout(second)).expect("a limit");
    client.send_to(b"ping", (address, port)).expect("sent");
    let (_, from) = server.recv_from(&mut buffer).expect("the question");
    server.send_to(b"pong", from).expect("answered");
    client.recv(&mut buffer).expect("the answer");
}

#[test]
fn what_is_left_untracked_makes_no_entry() {
    let body = || {
        let mut links = Netlink::open().expect("open");
        let up = LinkChange { up: Some(true), ..LinkChange::default() };
        links.change_link(1, &up).expect("the loopback");
        let mut netfilter = Netfilter::open().expect("open");
        let nothing = Untracked::default();
        netfilter.leave_untracked(&nothing).expect("nothing");
        assert_eq!(netfilter.tables().expect("tables"), [], "and so nothing is made");
        for v6 in [false, true] {
            netfilter.hold_connections(v6).expect("tracking");
        }
        talk("127.0.0.1", 5353);
        talk("::1", 5353);
        assert_eq!(tracked(), 2, "the kernel tracks");

        let end = |text: &str| (text.parse().expect("an address"), 17, 5353);
        let wanted = Untracked { addresses: [end("127.0.0.1"), end("::1")].into(), ports: [(6, 443)].into() };
        for _ in 0..2 {
            netfilter.leave_untracked(&wanted).expect("untracked");
            assert!(netfilter.leaves_untracked(&wanted).expect("listed"));
        }
        talk("127.0.0.1", 5353);
        talk("::1", 5353);
        assert_eq!(tracked(), 2, "no new entries");
        talk("127.0.0.1", 5354);
        assert_eq!(tracked(), 3, "others are tracked as ever");
        for (family, loopback) in [("ip", "127.0.0.1"), ("ip6", "::1")] {
            let Some(rules) = run("nft", &["list", "table", family, "cilium_untracked"], "") else {
                continue;
            };
            let expected = format!(
                "\
table {family} cilium_untracked {{
	chain prerouting {{
		type filter hook prerouting priority raw; policy accept;
		{family} daddr {loopback} udp dport 5353 notrack
		{family} saddr {loopback} udp sport 5353 notrack
		tcp dport 443 notrack
	}}

	chain output {{
		type filter hook output priority raw; policy accept;
		{family} daddr {loopback} udp dport 5353 notrack
		{family} saddr {loopback} udp sport 5353 notrack
		tcp sport 443 notrack
	}}
}}
"
            );
            assert_eq!(rules, expected);
        }

        // Many, in more than one piece; then only those of one family.
        let many = (1..=200).map(|port| ("10.0.0.7".parse().expect("an address"), 17, port));
        netfilter.leave_untracked(&Untracked { addresses: many.collect(), ..nothing.clone() }).expect("many");
        let ours = |netfilter: &mut Netfilter| -> Vec<bool> {
            let tables = netfilter.tables().expect("tables");
            tables.iter().filter(|table| table.name == "cilium_untracked").map(|table| table.v6).collect()
        };
        assert_eq!(ours(&mut netfilter), [false]);
        netfilter.leave_untracked(&nothing).expect("nothing");
        assert!(ours(&mut netfilter).is_empty());
        assert!(
            !netfilter.leaves_untracked(&wanted).expect("listed")
                && netfilter.leaves_untracked(&nothing).expect("listed")
        );
        talk("127.0.0.1", 5353);
        assert_eq!(tracked(), 4);
    };
    NetNs::create().expect("a namespace: needs root").run(body).expect("enter the namespace");
}

#[test]
fn looking_makes_no_tables() {
    let body = || {
        let mut netfilter = Netfilter::open().expect("open");
        assert_eq!(netfilter.tables().expect("tables"), []);
        assert_eq!(netfilter.tables().expect("again"), []);
    };
    NetNs::create().expect("a namespace: needs root").run(body).expect("enter the namespace");
}
