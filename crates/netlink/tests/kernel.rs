//! Against the real kernel, each test in network namespaces of its own. They have no name and go with the test, also
//! when it panics. Needs root.

use axoneme_netlink::{
    Change, Link, LinkChange, NetNs, Netlink, NetlinkError, Route, RouteKind, Subscription, VethEnd, Vxlan,
    sysctl,
};
use ipnet::IpNet;
use std::net::IpAddr;
use std::time::Duration;

/// Runs a test in a fresh namespace.
fn fresh<T: Send>(test: impl FnOnce(&mut Netlink) -> T + Send) -> T {
    let namespace = NetNs::create().expect("a namespace: these tests need root");
    namespace.run(|| test(&mut Netlink::open().expect("a socket"))).expect("enter the namespace")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("literal address")
}

fn net(text: &str) -> IpNet {
    text.parse().expect("literal prefix")
}

fn end(name: &str) -> VethEnd<'_> {
    VethEnd { name, ..VethEnd::default() }
}

/// Two ends in one namespace, both up; returns the first.
fn pair(netlink: &mut Netlink) -> Link {
    netlink.create_veth(&end("axt-a"), &end("axt-b"), None).expect("a pair");
    let peer = netlink.link("axt-b").expect("the second end");
    netlink.set_link_up(peer.index).expect("up");
    netlink.link("axt-a").expect("the first end")
}

#[test]
fn a_veth_pair_spans_namespaces() {
    let pod = NetNs::create().expect("a namespace");
    fresh(|host| {
        let (a, b) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let outer = VethEnd { name: "axt-host", mac: Some(a), mtu: 1400 };
        let inner = VethEnd { name: "eth0", mac: Some(b), mtu: 1400 };
        host.create_veth(&outer, &inner, Some(&pod)).expect("create");
        let mut inside = Netlink::open_in(&pod).expect("a socket in the pod");
        let (outer, inner) = (host.link("axt-host").expect("outer"), inside.link("eth0").expect("inner"));
        assert_eq!((outer.mac, outer.mtu, outer.up, outer.kind.as_str()), (Some(a), 1400, true, "veth"));
        assert_eq!((inner.mac, inner.mtu, inner.up), (Some(b), 1400, false));
        assert_eq!(outer.peer, Some(inner.index));
        let again = host.create_veth(&end("axt-host"), &end("eth0"), Some(&pod)).expect_err("exists");
        assert!(again.is_existing(), "{again}");
        assert!(host.delete_link("axt-host").expect("delete"));
        assert!(!host.delete_link("axt-host").expect("delete again"));
        assert_eq!(inside.find_link("eth0").expect("look"), None, "the peer goes too");
    });
}

#[test]
fn links_are_changed_and_listed() {
    fresh(|netlink| {
        let link = pair(netlink);
        let change = LinkChange {
            mtu: Some(1300),
            mac: Some([2, 1, 1, 1, 1, 1]),
            gso_gro_max_size: Some(32_768),
            ..LinkChange::default()
        };
        netlink.change_link(link.index, &change).expect("change");
        netlink
            .change_link(link.index, &LinkChange { up: Some(false), ..LinkChange::default() })
            .expect("down");
        let seen = netlink.find_link_by_index(link.index).expect("find").expect("there");
        assert_eq!(
            (seen.mtu, seen.mac, seen.gso_max_size, seen.up),
            (1300, Some([2, 1, 1, 1, 1, 1]), 32_768, false)
        );
        let mut names: Vec<String> = netlink.links().expect("list").into_iter().map(|l| l.name).collect();
        names.retain(|n| n.starts_with("axt-") || n == "lo");
        assert_eq!(names, ["lo", "axt-b", "axt-a"]);
        assert!(netlink.find_link_by_index(9999).expect("find").is_none());
    });
}

#[test]
fn a_vxlan_device_takes_metadata() {
    fresh(|netlink| {
        let device = Vxlan { name: "axt-vxlan", port: 8472, mtu: 1450, mac: None };
        netlink.create_vxlan(&device).expect("create");
        let link = netlink.link("axt-vxlan").expect("find");
        assert_eq!((link.kind.as_str(), link.mtu), ("vxlan", 1450));
        netlink.set_link_up(link.index).expect("up, so the port is free for both families");
        let details =
            std::process::Command::new("ip").args(["-d", "link", "show", "axt-vxlan"]).output().expect("ip");
        let details = String::from_utf8_lossy(&details.stdout).into_owned();
        assert!(details.contains("vxlan external") && details.contains("dstport 8472"), "{details}");
        assert!(details.contains("nolearning"), "{details}");
    });
}

#[test]
fn addresses_come_and_go() {
    fresh(|netlink| {
        let link = pair(netlink);
        for address in ["10.1.0.5/32", "fd00:1::5/128", "10.2.0.1/24"] {
            netlink.set_address(link.index, net(address)).expect("add");
            netlink.set_address(link.index, net(address)).expect("add again");
            let seen = netlink.addresses(Some(link.index)).expect("list");
            assert!(seen.iter().any(|a| a.net == net(address)), "{address} is not in {seen:?}");
        }
        // Usable at once: binding to a tentative address would fail.
        std::net::UdpSocket::bind((ip("fd00:1::5"), 0)).expect("no duplicate address detection");
        assert!(netlink.delete_address(link.index, net("fd00:1::5/128")).expect("remove"));
        assert!(!netlink.delete_address(link.index, net("fd00:1::5/128")).expect("remove again"));
    });
}

#[test]
fn routes_read_back_as_they_were_written() {
    fresh(|netlink| {
        let link = pair(netlink).index;
        netlink.set_address(link, net("10.1.0.5/32")).expect("address");
        netlink.set_address(link, net("fd00:1::5/128")).expect("address");
        let mut wanted = vec![
            Route::to(net("10.1.0.1/32"), link),
            Route::default_via(ip("10.1.0.1"), link).with_mtu(1400),
            Route::to(net("10.9.0.0/16"), link).via(ip("10.1.0.1")).from(ip("10.1.0.5")),
            Route { onlink: true, metric: 50, ..Route::to(net("10.8.0.0/16"), link).via(ip("172.16.0.1")) },
            Route { kind: RouteKind::Blackhole, ..Route::to(net("10.7.0.0/16"), 0) },
            Route { table: 2004, ..Route::to(net("10.6.0.0/16"), link) },
            Route::to(net("fd00:1::1/128"), link),
            Route::default_via(ip("fd00:1::1"), link).with_mtu(1400),
            Route { onlink: true, metric: 7, ..Route::to(net("fd00:8::/32"), link).via(ip("fd00:99::1")) },
            Route { kind: RouteKind::Unreachable, ..Route::to(net("fd00:7::/64"), 0) },
        ];
        for route in wanted.iter().chain(&wanted) {
            netlink
                .replace_route(route)
                .unwrap_or_else(|e| panic!("{route:?}: {e}: {:?}", std::error::Error::source(&e)));
        }
        let mut seen = netlink.owned_routes().expect("list");
        seen.sort();
        wanted.sort();
        assert_eq!(seen, wanted);
        let default = netlink.default_route(true).expect("default").expect("there is one");
        assert_eq!((default.link, default.gateway), (link, Some(ip("fd00:1::1"))));
        let way = netlink.lookup(ip("10.9.1.1")).expect("look up").expect("reachable");
        assert_eq!((way.gateway, way.source), (Some(ip("10.1.0.1")), Some(ip("10.1.0.5"))));
        assert_eq!(netlink.lookup(ip("fd00:7::1")).expect("look up"), None);
        assert_eq!(netlink.lookup(ip("10.7.0.1")).expect("look up"), None);
        for route in &wanted {
            assert!(netlink.delete_route(route).expect("remove"), "{route:?} was not there");
            assert!(!netlink.delete_route(route).expect("remove again"));
        }
        assert_eq!(netlink.owned_routes().expect("list"), []);
        assert!(!netlink.routes().expect("list").is_empty(), "the kernel's own are left");
    });
}

#[test]
fn foreign_routes_are_not_ours() {
    fresh(|netlink| {
        let link = pair(netlink).index;
        let foreign = Route { protocol: 4, ..Route::to(net("10.5.0.0/16"), link) };
        netlink.add_route(&foreign).expect("add");
        assert!(netlink.add_route(&foreign).expect_err("twice").is_existing());
        assert_eq!(netlink.owned_routes().expect("list"), []);
        assert!(
            !netlink.delete_route(&Route::to(net("10.5.0.0/16"), link)).expect("remove"),
            "it is not ours"
        );
        assert!(netlink.routes().expect("list").contains(&foreign));
    });
}

#[test]
fn neighbours_stay() {
    fresh(|netlink| {
        let link = pair(netlink).index;
        for address in ["10.1.0.1", "fd00:1::1"] {
            netlink.set_neighbour(link, ip(address), [2, 0, 0, 0, 0, 1]).expect("set");
            netlink.set_neighbour(link, ip(address), [2, 0, 0, 0, 0, 9]).expect("set again");
            let seen = netlink.neighbours(Some(link)).expect("list");
            let seen = seen.iter().find(|n| n.ip == ip(address)).expect("listed");
            assert_eq!((seen.mac, seen.permanent), (Some([2, 0, 0, 0, 0, 9]), true));
            assert!(netlink.delete_neighbour(link, ip(address)).expect("remove"));
            assert!(!netlink.delete_neighbour(link, ip(address)).expect("remove again"));
        }
    });
}

#[test]
fn errors_tell_what_and_why() {
    fresh(|netlink| {
        let error = netlink.set_address(4242, net("10.1.0.1/32")).expect_err("no such link");
        assert!(error.is_missing() && error.to_string().contains("add the address 10.1.0.1/32"), "{error}");
        let link = pair(netlink).index;
        let error =
            netlink.replace_route(&Route::default_via(ip("10.1.0.1"), link)).expect_err("gateway off link");
        assert_eq!(error.errno(), Some(101), "{error}");
        let source = std::error::Error::source(&error).expect("a cause").to_string();
        assert!(
            source.starts_with("Nexthop has invalid gateway"),
            "the kernel's own words are missing: {source}"
        );
        assert!(matches!(netlink.link("a/b"), Err(NetlinkError::Name { .. })));
        assert!(matches!(netlink.link("sixteen-bytes-xx"), Err(NetlinkError::Name { .. })));
        assert!(matches!(NetNs::open("/nonexistent"), Err(NetlinkError::NetNs { .. })));
    });
}

#[test]
fn changes_are_told() {
    fresh(|netlink| {
        let mut changes = Subscription::open().expect("subscribe");
        assert_eq!(changes.wait(Some(Duration::from_millis(20))).expect("wait"), None);
        let link = pair(netlink);
        netlink.set_address(link.index, net("10.1.0.5/32")).expect("address");
        let route = Route::to(net("10.1.0.1/32"), link.index);
        netlink.replace_route(&route).expect("route");
        netlink.delete_link("axt-a").expect("delete");
        let mut seen = Vec::new();
        while let Some(change) = changes.wait(Some(Duration::from_millis(200))).expect("wait") {
            seen.push(change);
        }
        let is_link = |c: &Change| matches!(c, Change::Link(l) if l.name == "axt-a");
        let is_gone = |c: &Change| matches!(c, Change::LinkGone(l) if l.name == "axt-a");
        let is_address = |c: &Change| matches!(c, Change::Address(a) if a.net == net("10.1.0.5/32"));
        assert!(
            seen.iter().any(is_link) && seen.iter().any(is_gone) && seen.iter().any(is_address),
            "{seen:?}"
        );
        assert!(seen.contains(&Change::Route(route)), "{seen:?}");
    });
}

#[test]
fn a_flood_of_changes_is_an_overrun_not_an_error() {
    fresh(|netlink| {
        let link = pair(netlink).index;
        let mut changes = Subscription::open().expect("subscribe");
        for n in 0..15_000_u32 {
            let address = IpAddr::from((0x0a00_0000 | n).to_be_bytes());
            netlink.replace_route(&Route::to(IpNet::from(address), link)).expect("route");
        }
        let mut overruns = 0;
        let mut told = 0;
        while let Some(change) = changes.wait(Some(Duration::from_millis(50))).expect("no error") {
            if change == Change::Overrun { overruns += 1 } else { told += 1 }
        }
        assert!(
            overruns > 0 || told >= 15_000,
            "{told} changes, {overruns} overruns: some were lost in silence"
        );
        assert_eq!(netlink.owned_routes().expect("a long list").len(), 15_000);
    });
}

#[test]
fn settings_belong_to_the_namespace() {
    let other = NetNs::create().expect("a namespace");
    fresh(|netlink| {
        pair(netlink);
        sysctl::set_forwarding().expect("forwarding");
        assert_eq!(sysctl::get(&["net", "ipv4", "ip_forward"]).expect("read"), "1");
        assert!(sysctl::set_ipv4("axt-a", "rp_filter", "2").expect("write"));
        assert!(!sysctl::set_ipv4("axt-a", "rp_filter", "2").expect("write again"));
        sysctl::set_ipv6("axt-a", "accept_dad", "0").expect("write");
        let elsewhere =
            other.run(|| sysctl::get(&["net", "ipv4", "ip_forward"])).expect("enter").expect("read");
        assert_eq!(elsewhere, "0");
        let missing = sysctl::set_ipv4("axt-none", "rp_filter", "0").expect_err("no such device");
        assert!(missing.to_string().contains("/proc/sys/net/ipv4/conf/axt-none/rp_filter"), "{missing}");
    });
}

#[test]
fn namespaces_have_an_identity() {
    let (a, b) = (NetNs::create().expect("one"), NetNs::create().expect("two"));
    assert_ne!(a.id().expect("id"), b.id().expect("id"));
    let inside = a.run(|| NetNs::current().and_then(|n| n.id())).expect("enter").expect("id");
    assert_eq!(inside, a.id().expect("id"));
    let caught = std::panic::catch_unwind(|| a.run(|| panic!("of the closure")));
    assert!(caught.is_err(), "a panic must not be swallowed");
    let file = std::env::temp_dir().join(format!("axt-not-a-netns-{}", std::process::id()));
    std::fs::write(&file, b"").expect("write");
    let error = NetNs::open(&file).expect("it opens").run(|| ()).expect_err("it is no namespace");
    assert!(error.to_string().contains("enter"), "{error}");
    std::fs::remove_file(file).expect("clean up");
}
