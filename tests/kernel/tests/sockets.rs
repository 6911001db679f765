//! Translations at sockets are told of by the programs that make them. This process alone is in their control group.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use abi::{Backend, Event, EventKind, Frontend, FrontendKey, Range, SocketEvent};
use axoneme_kernel_tests::{pair::Pair, place::Place};
use loader::{CgroupLinks, EventReader, PerCpu, Records};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use zerocopy::FromBytes;

const TCP: u8 = 6;
const UDP: u8 = 17;
/// Service and node, by family.
const FAMILIES: [[&str; 2]; 2] = [["10.96.0.10", "172.31.0.11"], ["fd00:96::10", "fd00:31::11"]];

/// A control group of its own, with this process in it until it is dropped.
struct Group {
    hierarchy: tempfile::TempDir,
    before: PathBuf,
    own: PathBuf,
}

impl Group {
    fn enter() -> Group {
        let hierarchy = tempfile::Builder::new().prefix("axt-cgroup-").tempdir().expect("a directory");
        mount("cgroup2", hierarchy.path(), "cgroup2", MountFlags::empty(), None).expect("cgroup v2");
        let groups = std::fs::read_to_string("/proc/self/cgroup").expect("groups");
        let before = groups.lines().find_map(|line| line.strip_prefix("0::/")).expect("a v2 group");
        let before = hierarchy.path().join(before);
        let own = hierarchy.path().join(format!("axt-sockets-{}", std::process::id()));
        std::fs::create_dir(&own).expect("a group");
        let group = Group { hierarchy, before, own };
        group.join(&group.own);
        group
    }

    fn join(&self, group: &Path) {
        std::fs::write(group.join("cgroup.procs"), "0").expect("joining a group");
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.join(&self.before);
        std::fs::remove_dir(&self.own).expect("an empty group");
        unmount(self.hierarchy.path(), UnmountFlags::DETACH).expect("unmounting");
    }
}

/// A service with one backend.
fn serve(pair: &Pair, slot: u32, service: SocketAddr, protocol: u8, backend: SocketAddr) {
    let backend_row = Backend { addr: backend.ip().into(), port: backend.port().to_be(), _pad: 0 };
    pair.maps().backends.insert(&slot, &backend_row).expect("a backend");
    let key = FrontendKey { addr: service.ip().into(), port: service.port().to_be(), protocol, _pad: 0 };
    let range = Range { start: slot, count: 1, maglev: 0 };
    let row = Frontend { service: slot, external: range, internal: range, ..Frontend::default() };
    pair.maps().frontends.insert(&key, &row).expect("a frontend");
}

/// What was told within a while: side, address and protocol.
fn told(records: &Records, group: u64, count: usize) -> Vec<(u8, SocketAddr, u8)> {
    let mut all = Vec::new();
    let wait = |seen: usize| Duration::from_millis(if seen < count { 5000 } else { 300 });
    while let Ok(record) = records.recv_timeout(wait(all.len())) {
        let (event, rest) = Event::read_from_prefix(&record).expect("a header");
        let socket = SocketEvent::read_from_bytes(rest).expect("what follows");
        assert_eq!((event.kind, event.captured as usize), (EventKind::TraceSock as u8, rest.len()));
        assert_eq!(socket.cgroup, group);
        assert!(event.time > 0 && socket.cookie > 0 && socket.namespace > 0);
        let address = SocketAddr::new(IpAddr::from(socket.addr), u16::from_be(socket.port));
        assert_eq!(event.flags & abi::event::IPV6 != 0, address.is_ipv6());
        all.push((event.code, address, socket.protocol));
    }
    all
}

#[test]
fn both_sides_of_a_translation_are_told_of_where_every_packet_is() {
    let Some(place) = Place::enter().expect("namespaces") else { return };
    let pair = Pair::new(place, false, 0).expect("the programs load");
    let group = Group::enter();
    let (object, bpffs) = pair.loaded();
    CgroupLinks::new(bpffs).ensure(object, &group.own).expect("links to the group");
    let number = group.own.metadata().expect("the group").ino();
    let lost = PerCpu::open(&loader::globals(bpffs).join(abi::maps::LOST)).expect("losses");
    let (_reader, records) = EventReader::start_queue(&pair.maps().events, lost, 100).expect("a reader");
    for (slot, [service, node]) in (1..).step_by(2).zip(FAMILIES) {
        let at = |host: &str, port| SocketAddr::new(host.parse().expect("an address"), port);
        let (service, listener) = (at(service, 80), TcpListener::bind(at(node, 0)).expect("a server"));
        let server = UdpSocket::bind(at(node, 0)).expect("a server");
        let backends = [listener.local_addr(), server.local_addr()].map(|local| local.expect("bound"));
        serve(&pair, slot, service, TCP, backends[0]);
        serve(&pair, slot + 1, service, UDP, backends[1]);
        for level in [1, 2] {
            pair.maps().monitor.set(level).expect("the level");
            let stream = TcpStream::connect(service).expect("a connection to the backend");
            assert_eq!(stream.peer_addr().expect("a peer"), service);
            let client = UdpSocket::bind(at(node, 0)).expect("a client");
            client.send_to(b"?", service).expect("to the backend");
            let (_, from) = server.recv_from(&mut [0; 8]).expect("what the client sent");
            server.send_to(b"!", from).expect("an answer");
            assert_eq!(client.recv_from(&mut [0; 8]).expect("the answer").1, service);
            let expected: Vec<_> = [(TCP, backends[0]), (UDP, backends[1])]
                .into_iter()
                .flat_map(|(protocol, backend)| {
                    [(1, service), (2, backend), (3, backend), (4, service)].map(|(p, a)| (p, a, protocol))
                })
                .collect();
            let expected = if level == 1 { Vec::new() } else { expected };
            assert_eq!(told(&records, number, expected.len()), expected, "level {level}");
        }
    }
}
