//! Conversations over the two nodes, held against what the objects say.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use abi::{Addr, DropReason};
use axoneme_sim::{Call, socket_connect, socket_told};
use datapath::socket::Answer;
use proptest::sample::Index;
use services::ObjectName;

use crate::cluster::{Cluster, Fate, Kind, PLACES, Setup, SocketLb, host_cookie, mac_of, place_of};
use crate::frame::{ACK, Complaint, Content, FIN, Packet, RST, SYN, TCP, complain, read};
use crate::generate::{Ending, Opening, Step};
use crate::model::{self, Led, Objects, Question, Ruling};

const SECOND: u64 = 1_000_000_000;
/// What the tables remember ends within this time of what it should.
const MARGIN: u64 = 6 * SECOND;

/// A conversation that is under way.
#[derive(Clone, Debug)]
struct Talk {
    id: u32,
    opening: Opening,
    led: Led,
    /// The client's socket was translated.
    by_socket: bool,
    /// The client's node left it to another.
    passed_on: bool,
    /// The client, as it calls itself.
    client: SocketAddr,
    /// Where its packets go.
    spoken: SocketAddr,
    server: usize,
    backend: SocketAddr,
    /// The client, as the server sees it.
    seen: SocketAddr,
    used: u64,
    answered: bool,
    /// The generation of policy under which it was last said to be allowed. An error says nothing of an older one.
    generation: u32,
    /// Packets that the client has sent.
    sent: u32,
    /// The last frames as they reached their receivers: the server, the client.
    last: [Vec<u8>; 2],
}

/// A client's port, and whom it spoke to with it.
type Tuple = (usize, u16, u8, SocketAddr);

/// A client of a service's port on a node, by the service's cluster IP or another address.
type Binding = (usize, IpAddr, (ObjectName, String), bool);

/// What is left of a conversation.
#[derive(Clone, Copy, Debug)]
struct Remains {
    /// Until then the tables may know of it.
    until: u64,
    backend: SocketAddr,
    /// It ended, so that its port is free at once.
    ended: bool,
}

pub struct Run {
    setup: Setup,
    cluster: Cluster,
    objects: Objects,
    talks: Vec<Talk>,
    openings: Vec<Opening>,
    /// Conversations of which nothing certain can be said any more.
    ghosts: Vec<Talk>,
    remains: HashMap<Tuple, Remains>,
    /// Client addresses and ports that reached a backend, by the address under which they asked.
    reached: HashMap<(SocketAddr, u8, SocketAddr), Vec<SocketAddr>>,
    /// Clients bound to a backend, since when.
    bound: HashMap<Binding, (SocketAddr, u64)>,
    /// Those that were bound before their service changed: another policy may be long in coming.
    loose: HashSet<Binding>,
    next: u32,
}

type Checked<T = ()> = Result<T, String>;

fn ensure(so: bool, text: impl FnOnce() -> String) -> Checked {
    if so { Ok(()) } else { Err(text()) }
}

impl Run {
    pub fn new(setup: &Setup, host_port: bool) -> Run {
        let mut cluster = Cluster::new(setup);
        if host_port {
            cluster.set_host_port(model::host_port());
        }
        let objects = Objects {
            settings: setup.settings.clone(),
            services: Default::default(),
            slices: Default::default(),
            host_port,
        };
        let mut run = Run {
            setup: setup.clone(),
            cluster,
            objects,
            talks: Vec::new(),
            openings: Vec::new(),
            ghosts: Vec::new(),
            remains: HashMap::new(),
            reached: HashMap::new(),
            bound: HashMap::new(),
            loose: HashSet::new(),
            next: 0,
        };
        run.settle();
        run
    }

    pub fn step(&mut self, step: Step) -> Checked {
        self.cluster.wait(1000);
        let now = self.cluster.now();
        self.drop_talks(|talk| now > talk.used + limit(talk) - MARGIN);
        match step {
            Step::Open(opening) => {
                self.openings.push(opening.clone());
                self.open(opening)
            }
            Step::Again(_) if self.openings.is_empty() => Ok(()),
            Step::Again(which) => self.open(which.get(&self.openings).clone()),
            Step::Speak(which) => self.with(which, |run, talk| run.speak(talk)),
            Step::End(which, ending) => self.with(which, |run, talk| run.end(talk, ending)),
            Step::Complain(which, to_server) => self.with(which, |run, talk| run.complain(talk, to_server)),
            Step::Service(service) => {
                self.cluster.balancers.iter_mut().for_each(|one| one.set_service(service.clone()));
                let name = service.name.clone();
                self.objects.services.insert(service.name.clone(), service);
                self.loose.extend(self.bound.keys().filter(|key| key.2.0 == name).cloned());
                self.settle();
                self.forget_uncertain(&name);
                Ok(())
            }
            Step::ServiceGone(name) => {
                self.cluster.balancers.iter_mut().for_each(|one| one.remove_service(&name));
                self.objects.services.remove(&name);
                self.bound.retain(|(_, _, (service, _), _), _| *service != name);
                self.settle();
                self.forget_uncertain(&name);
                Ok(())
            }
            Step::Slice(slice) => {
                self.cluster.balancers.iter_mut().for_each(|one| one.set_slice(slice.clone()));
                self.objects.slices.insert(slice.name.clone(), slice);
                self.settle();
                Ok(())
            }
            Step::Wait(ms) => {
                self.cluster.wait(ms * 1_000_000);
                Ok(())
            }
            Step::Flood => {
                for node in &mut self.cluster.nodes {
                    node.nat_half_open.clear();
                    node.half_open.clear();
                }
                self.drop_talks(|talk| !talk.answered || (talk.led.direct && talk.opening.protocol != TCP));
                Ok(())
            }
            Step::Collect => {
                for node in &mut self.cluster.nodes {
                    let now = node.now;
                    node.nat.retain(|_, entry| entry.expires >= now);
                    node.nat_half_open.retain(|_, entry| entry.expires >= now);
                    node.flows.retain(|_, flow| flow.expires >= now);
                    node.half_open.retain(|_, flow| flow.expires >= now);
                }
                Ok(())
            }
            Step::Generation => {
                self.cluster.nodes.iter_mut().for_each(|node| node.epoch += 1);
                Ok(())
            }
        }
    }

    fn settle(&mut self) {
        self.cluster.settle();
        self.cluster.virtual_ips.extend(self.objects.virtual_ips());
    }

    /// Datagrams and openings to a service that was made anew may go on as they did or not; so may what one node passed to another's
    /// port and now has to lead itself.
    fn forget_uncertain(&mut self, name: &ObjectName) {
        self.drop_talks(|talk| {
            let of = |(service, _): &(ObjectName, String)| service == name;
            let uncertain = talk.opening.protocol != TCP || talk.passed_on || !talk.answered;
            uncertain && !talk.by_socket && talk.led.port.as_ref().is_some_and(of)
        });
    }

    /// Takes conversations of which nothing certain can be said out of those that are under way.
    fn drop_talks(&mut self, uncertain: impl Fn(&Talk) -> bool) {
        let (dropped, kept) = std::mem::take(&mut self.talks).into_iter().partition(uncertain);
        self.talks = kept;
        let dropped: Vec<Talk> = dropped;
        for talk in dropped {
            let until = talk.used + limit(&talk) + SECOND;
            self.remains.insert(talk.tuple(), Remains { until, backend: talk.backend, ended: false });
            self.ghosts.push(talk);
        }
    }

    /// Runs something on one of the conversations under way, if there is one.
    fn with(&mut self, which: Index, run: impl FnOnce(&mut Run, Talk) -> Checked<Option<Talk>>) -> Checked {
        if self.talks.is_empty() {
            return Ok(());
        }
        let talk = self.talks.swap_remove(which.index(self.talks.len()));
        let tuple = talk.tuple();
        let before =
            Remains { until: talk.used + limit(&talk) + SECOND, backend: talk.backend, ended: false };
        let shown = format!("{talk:?}");
        match run(self, talk) {
            Ok(Some(talk)) => self.talks.push(talk),
            Ok(None) => {
                self.remains.entry(tuple).or_insert(before);
            }
            Err(error) => return Err(format!("{error}\n  in {shown}")),
        }
        Ok(())
    }

    // --- opening

    fn open(&mut self, opening: Opening) -> Checked {
        let shown = format!("{opening:?}");
        self.opens(opening).map_err(|error| format!("{error}\n  on {shown}"))
    }

    fn opens(&mut self, opening: Opening) -> Checked {
        let Opening { client, via, target, protocol, port, .. } = opening;
        let tuple = (client, port, protocol, target);
        let now = self.cluster.now();
        if self.talks.iter().any(|talk| talk.tuple() == tuple) {
            return Ok(());
        }
        let remains = self.remains.get(&tuple).copied().filter(|remains| now <= remains.until);
        if remains.is_some_and(|remains| !remains.ended) {
            return Ok(());
        }
        let by_socket = match (PLACES[client].kind, self.setup.socket) {
            // Nobody translates for the host's own processes then.
            (Kind::Host { .. }, SocketLb::Off) => return Ok(()),
            (Kind::Host { .. }, _) | (Kind::Pod { .. }, SocketLb::All) => true,
            _ => false,
        };
        let Some((question, ruling)) = self.rule(client, via, target, protocol) else { return Ok(()) };
        if remains.is_some() && !matches!(ruling, Ruling::Led(_)) {
            // The node that leads may not know of the end.
            return Ok(());
        }
        let mut spoken = target;
        if by_socket && question.inside {
            let mut call = self.call(client, target, protocol);
            let node = &mut self.cluster.nodes[question.node];
            let answer = socket_connect(node, &mut call);
            spoken = SocketAddr::new(call.addr.into(), u16::from_be(call.port));
            let refused = ruling == Ruling::Refused;
            ensure((answer == Answer::Refused) == refused, || format!("{answer:?} instead of {ruling:?}"))?;
            match &ruling {
                Ruling::Led(led) => {
                    let right = self.may_lead(&question, led, spoken);
                    ensure(right, || format!("{spoken} is none of {led:?}"))?;
                    self.bind(&question, led, spoken, None)?;
                    socket_told(node_of(&mut self.cluster, question.node), &mut call);
                    let told = SocketAddr::new(call.addr.into(), u16::from_be(call.port));
                    ensure(told == target, || format!("told {told} instead of {target}"))?;
                }
                _ => {
                    ensure(spoken == target, || format!("translated to {spoken}"))?;
                    if refused || PLACES[client].kind == (Kind::Host { node: question.node }) {
                        return Ok(());
                    }
                }
            }
        }
        // The kernel gives no two of a client's sockets the same ends.
        let own = SocketAddr::new(self.cluster.source(client, spoken.ip()), port);
        if self
            .talks
            .iter()
            .any(|talk| (talk.client, talk.spoken, talk.opening.protocol) == (own, spoken, protocol))
        {
            return Ok(());
        }
        self.next += 1;
        let mut talk = Talk {
            id: self.next,
            by_socket: spoken != target,
            passed_on: !question.inside && PLACES[client].node().is_some(),
            client: own,
            spoken,
            server: client,
            backend: spoken,
            seen: own,
            used: now,
            answered: false,
            generation: 0,
            sent: 0,
            last: Default::default(),
            led: Led::default(),
            opening,
        };
        let packet = talk.next_packet(if protocol == TCP { SYN } else { 0 });
        let fate = self.send(client, &packet, via);
        match ruling {
            Ruling::Untouched => untouched(&packet, fate),
            Ruling::Dropped => {
                ensure(matches!(fate, Fate::Dropped(_)), || format!("{fate:?} instead of a drop"))
            }
            Ruling::Refused => refused(&talk, fate),
            Ruling::Led(led) => {
                let old = remains.map(|remains| remains.backend);
                let elsewhere = |backend| self.conflicts(&talk, &question, backend);
                if led.direct
                    && fate == Fate::Dropped(DropReason::NoNatMapping)
                    && led.backends.iter().copied().any(elsewhere)
                {
                    // The backend's node has the client's port in use, under another name.
                    return Ok(());
                }
                self.reaches(&mut talk, &question, led, &packet, fate, old)?;
                if self.is_mistaken(&talk)? {
                    self.drop_talks(|other| other.sounds_like(&talk));
                    self.talks.push(talk);
                    self.drop_talks(|last| last.tuple() == tuple);
                    return Ok(());
                }
                self.remains.remove(&tuple);
                if talk.opening.answered {
                    self.answer(&mut talk, SYN | ACK)?;
                    if protocol == TCP {
                        self.ask(&mut talk, ACK)?;
                    }
                }
                self.talks.push(talk);
                Ok(())
            }
        }
    }

    /// Which node decides on a client's packet, and what it should say. `None`: no node.
    fn rule(
        &self,
        client: usize,
        via: usize,
        target: SocketAddr,
        protocol: u8,
    ) -> Option<(Question, Ruling)> {
        let place = &PLACES[client];
        let own = place.ip(target.is_ipv4());
        let host_of = |ip| match PLACES[place_of(ip)?].kind {
            Kind::Host { node } => Some(node),
            _ => None,
        };
        let mut client = own;
        if let Some(node) = place.node() {
            let question = Question { node, inside: true, client, target, protocol };
            let ruling = self.objects.ask(&question);
            if ruling != Ruling::Untouched || host_of(target.ip()).is_none_or(|other| other == node) {
                return Some((question, ruling));
            }
            if self.setup.tunnel {
                client = PLACES[4 + node].ip(target.is_ipv4());
            }
        }
        let node = host_of(target.ip()).unwrap_or(via);
        let question = Question { node, inside: false, client, target, protocol };
        Some((question, self.objects.ask(&question)))
    }

    /// The first packet of a conversation came to a backend: was that one allowed, and does it see whom it should?
    fn reaches(
        &mut self,
        talk: &mut Talk,
        question: &Question,
        led: Led,
        packet: &Packet,
        fate: Fate,
        old: Option<SocketAddr>,
    ) -> Checked {
        let (server, frame) = arrived(fate)?;
        let seen = segment(&frame)?;
        let backend = seen.destination;
        let right = self.may_lead(question, &led, backend) || old == Some(backend);
        ensure(right && place_of(backend.ip()) == Some(server), || {
            format!("came to {} as {backend}, none of {:?}", PLACES[server].name, led.backends)
        })?;
        ensure(same_but_ends(packet, &seen), || format!("{packet:?} became {seen:?}"))?;
        if !talk.by_socket {
            self.bind(question, &led, backend, old)?;
        }
        let conflict = self.conflicts(talk, question, backend);
        let names = self.names(talk, question, &led, server);
        // Where answers do not pass by, another port would help nobody.
        let hidden = conflict && led.direct && self.cluster.is_own(question.node, seen.source.ip());
        let fits = names.contains(&seen.source.ip()) || hidden;
        ensure(fits, || format!("seen as {} instead of one of {names:?}", seen.source))?;
        if names == [talk.client.ip()]
            && !conflict
            && matches!(PLACES[talk.opening.client].kind, Kind::Pod { .. } | Kind::Outside)
        {
            ensure(seen.source.port() == talk.client.port(), || format!("seen as {}", seen.source))?;
        }
        talk.server = server;
        talk.backend = backend;
        talk.seen = seen.source;
        talk.led = led;
        talk.last[0] = frame;
        let name = SocketAddr::new(question.client, talk.client.port());
        self.reached.entry((name, talk.opening.protocol, backend)).or_default().push(talk.opening.target);
        Ok(())
    }

    /// Whether the client's port may speak to this backend already, for another frontend.
    fn conflicts(&self, talk: &Talk, question: &Question, backend: SocketAddr) -> bool {
        let name = SocketAddr::new(question.client, talk.client.port());
        let others = self.reached.get(&(name, talk.opening.protocol, backend));
        others.is_some_and(|others| others.iter().any(|other| *other != talk.opening.target))
    }

    /// Whether a backend takes the conversation for another of that client's: it can where answers do not pass by the node
    /// that leads (DSR), or where one goes to the backend by its own address, of which the other's node does not know.
    fn is_mistaken(&self, talk: &Talk) -> Checked<bool> {
        let excused = |talk: &Talk| talk.led.direct || talk.by_socket || talk.passed_on;
        let alike = |other: &&Talk| other.sounds_like(talk);
        let past = |other: &&Talk| alike(other) && self.cluster.now() <= other.used + limit(other) + SECOND;
        if let Some(other) = self.talks.iter().find(alike) {
            ensure(excused(talk) || excused(other), || format!("cannot be told from {other:?}"))?;
            return Ok(true);
        }
        Ok(self.ghosts.iter().filter(past).any(|other| excused(talk) || excused(other)))
    }

    /// The addresses as which a server may see the client.
    fn names(&self, talk: &Talk, question: &Question, led: &Led, server: usize) -> Vec<IpAddr> {
        let v4 = talk.client.is_ipv4();
        let at = PLACES[server].kind;
        if !question.inside {
            let here = PLACES[server].node() == Some(question.node);
            let direct = led.direct && !self.setup.tunnel && at != Kind::Outside;
            return if here || direct {
                vec![question.client]
            } else {
                self.cluster.own(question.node, v4).to_vec()
            };
        }
        let masqueraded = vec![PLACES[4 + question.node].ip(v4)];
        let pod = matches!(PLACES[talk.opening.client].kind, Kind::Pod { .. });
        match at {
            _ if !pod => vec![talk.client.ip()],
            _ if server == talk.opening.client && !talk.by_socket => {
                vec![crate::cluster::ip(if v4 { "169.254.42.1" } else { "fe80::1" })]
            }
            Kind::Host { node } if node != question.node && self.setup.tunnel => masqueraded,
            Kind::Outside if self.setup.masquerade => masqueraded,
            _ => vec![talk.client.ip()],
        }
    }

    /// Whether a client may be led to a backend.
    fn may_lead(&self, question: &Question, led: &Led, backend: SocketAddr) -> bool {
        let loose = || binding(question, led).is_some_and(|key| self.loose.contains(&key));
        led.backends.contains(&backend)
            || (self.bound_to(question, led) == Some(backend) && (led.leaving.contains(&backend) || loose()))
    }

    /// The backend that a client is bound to.
    fn bound_to(&self, question: &Question, led: &Led) -> Option<SocketAddr> {
        let (backend, at) = self.bound.get(&binding(question, led)?)?;
        (self.cluster.now() < at + u64::from(led.affinity?) * SECOND).then_some(*backend)
    }

    /// A client that is bound to a backend must have got that one.
    fn bind(
        &mut self,
        question: &Question,
        led: &Led,
        backend: SocketAddr,
        old: Option<SocketAddr>,
    ) -> Checked {
        let Some(key) = binding(question, led) else { return Ok(()) };
        if let Some(bound) = self.bound_to(question, led)
            && led.backends.contains(&bound)
            && old.is_none()
        {
            ensure(backend == bound, || format!("{backend}, although bound to {bound}"))?;
        }
        self.bound.insert(key, (backend, self.cluster.now()));
        Ok(())
    }

    fn call(&self, client: usize, target: SocketAddr, protocol: u8) -> Call {
        let namespace = match PLACES[client].kind {
            Kind::Host { node } => host_cookie(node),
            _ => 100 + client as u64,
        };
        let cookie = u64::from(self.next) + 1000;
        Call { protocol, addr: Addr::from(target.ip()), port: target.port().to_be(), cookie, namespace }
    }

    // --- while it lives

    fn speak(&mut self, mut talk: Talk) -> Checked<Option<Talk>> {
        if self.moves(&talk) {
            let mut opening = talk.opening.clone();
            opening.answered = true;
            self.opens(opening)?;
            return Ok(None);
        }
        if talk.opening.protocol == TCP && !talk.answered {
            // The opening comes again.
            if self.is_gone(&talk) {
                return Ok(None);
            }
            self.ask(&mut talk, SYN)?;
            self.answer(&mut talk, SYN | ACK)?;
        }
        self.ask(&mut talk, ACK)?;
        self.answer(&mut talk, ACK)?;
        Ok(Some(talk))
    }

    /// Whether the next packet is to find another backend: one without connection, whose backend is gone.
    fn moves(&self, talk: &Talk) -> bool {
        talk.opening.protocol != TCP && !talk.by_socket && self.is_gone(talk)
    }

    fn is_gone(&self, talk: &Talk) -> bool {
        let lists = |port| self.objects.lists(port, talk.opening.protocol, talk.backend);
        !talk.led.port.as_ref().is_none_or(lists)
    }

    fn end(&mut self, mut talk: Talk, ending: Ending) -> Checked<Option<Talk>> {
        if talk.opening.protocol != TCP || !talk.answered {
            return Ok(Some(talk));
        }
        match ending {
            Ending::ByClient => self.ask(&mut talk, RST)?,
            Ending::ByServer => self.answer(&mut talk, RST)?,
            Ending::InPeace => {
                self.ask(&mut talk, FIN | ACK)?;
                self.answer(&mut talk, FIN | ACK)?;
                self.ask(&mut talk, ACK)?;
            }
        }
        // Where answers pass by, the node that leads does not see them end.
        let unseen = talk.led.direct && ending != Ending::ByClient;
        let until = if unseen { talk.used + limit(&talk) + SECOND } else { 0 };
        self.remains.insert(talk.tuple(), Remains { until, backend: talk.backend, ended: true });
        self.ghosts.push(talk);
        Ok(None)
    }

    /// A packet from the client reaches the server, as it always did.
    fn ask(&mut self, talk: &mut Talk, flags: u8) -> Checked {
        let packet = talk.next_packet(flags);
        let fate = self.send(talk.opening.client, &packet, talk.opening.via);
        let (place, frame) = arrived(fate).map_err(|error| format!("a question: {error}"))?;
        let wanted = Packet { source: talk.seen, destination: talk.backend, ..packet };
        let seen = segment(&frame)?;
        ensure((place, &seen) == (talk.server, &wanted), || {
            format!("a question came to {} as {seen:?} instead of {wanted:?}", PLACES[place].name)
        })?;
        talk.used = self.cluster.now();
        talk.last[0] = frame;
        Ok(())
    }

    /// A packet from the server reaches the client, from the address that it spoke to.
    fn answer(&mut self, talk: &mut Talk, flags: u8) -> Checked {
        self.cluster.wait(50_000_000);
        let flags = if talk.opening.protocol == TCP { flags } else { 0 };
        let packet = Packet {
            source: talk.backend,
            destination: talk.seen,
            protocol: talk.opening.protocol,
            flags,
            payload: format!("answer {}.{}", talk.id, talk.sent).into(),
        };
        let fate = self.send(talk.server, &packet, talk.opening.via);
        let (place, frame) = arrived(fate).map_err(|error| format!("an answer: {error}"))?;
        let wanted = Packet { source: talk.spoken, destination: talk.client, ..packet };
        let seen = segment(&frame)?;
        ensure((place, &seen) == (talk.opening.client, &wanted), || {
            format!("an answer came to {} as {seen:?} instead of {wanted:?}", PLACES[place].name)
        })?;
        talk.answered = true;
        talk.generation = self.cluster.nodes[0].epoch;
        talk.used = self.cluster.now();
        talk.last[1] = frame;
        Ok(())
    }

    /// An error about the last packet to the server, or to the client, reaches the one that sent it.
    fn complain(&mut self, talk: Talk, to_server: bool) -> Checked<Option<Talk>> {
        let (by, receiver, quoted) = match to_server {
            true => (talk.opening.client, talk.server, (talk.backend, talk.seen)),
            false => (talk.server, talk.opening.client, (talk.client, talk.spoken)),
        };
        let about = &talk.last[usize::from(to_server)];
        let stale = talk.generation != self.cluster.nodes[0].epoch;
        if about.is_empty() || !talk.answered || stale || by == receiver || self.moves(&talk) {
            return Ok(Some(talk));
        }
        let source = crate::frame::outer(about).1;
        let frame = complain(mac_of(by), source, about);
        let (place, frame) = arrived(self.cluster.carry(by, frame, talk.opening.via))
            .map_err(|error| format!("a complaint: {error}"))?;
        let wanted = Content::Complaint(Complaint { destination: quoted.0.ip(), quoted });
        let seen = read(&frame)?;
        ensure((place, &seen) == (receiver, &wanted), || {
            format!("a complaint came to {} as {seen:?} instead of {wanted:?}", PLACES[place].name)
        })?;
        Ok(Some(talk))
    }

    fn send(&mut self, from: usize, packet: &Packet, via: usize) -> Fate {
        let frame = packet.frame(mac_of(from), packet.source.port() != 40_001);
        self.cluster.carry(from, frame, via)
    }
}

impl Talk {
    fn tuple(&self) -> Tuple {
        (self.opening.client, self.opening.port, self.opening.protocol, self.opening.target)
    }

    /// Whether a server sees the two alike.
    fn sounds_like(&self, other: &Talk) -> bool {
        (self.seen, self.backend, self.opening.protocol)
            == (other.seen, other.backend, other.opening.protocol)
    }

    fn next_packet(&mut self, flags: u8) -> Packet {
        self.sent += 1;
        Packet {
            source: self.client,
            destination: self.spoken,
            protocol: self.opening.protocol,
            flags: if self.opening.protocol == TCP { flags } else { 0 },
            payload: format!("question {}.{}", self.id, self.sent).into(),
        }
    }
}

/// What binds a client to a backend, if affinity does.
fn binding(question: &Question, led: &Led) -> Option<Binding> {
    led.affinity?;
    Some((question.node, question.client, led.port.clone()?, led.by_cluster_ip))
}

fn node_of(cluster: &mut Cluster, node: usize) -> &mut axoneme_sim::Node {
    &mut cluster.nodes[node]
}

/// How long the tables know of a conversation in which nothing is said.
fn limit(talk: &Talk) -> u64 {
    if talk.opening.protocol == TCP && talk.answered { 8000 * SECOND } else { 60 * SECOND }
}

fn arrived(fate: Fate) -> Checked<(usize, Vec<u8>)> {
    match fate {
        Fate::Arrived(place, frame) => Ok((place, frame)),
        other => Err(format!("{other:?}")),
    }
}

fn segment(frame: &[u8]) -> Checked<Packet> {
    match read(frame)? {
        Content::Packet(packet) => Ok(packet),
        other => Err(format!("{other:?}")),
    }
}

fn same_but_ends(a: &Packet, b: &Packet) -> bool {
    (a.protocol, a.flags, &a.payload) == (b.protocol, b.flags, &b.payload)
}

/// A packet for no service keeps its destination, wherever it ends. To an address that a service had it finds no end.
fn untouched(packet: &Packet, fate: Fate) -> Checked {
    let Fate::Arrived(place, frame) = fate else { return Ok(()) };
    let seen = segment(&frame)?;
    ensure(seen.destination == packet.destination && same_but_ends(packet, &seen), || {
        format!("{packet:?} became {seen:?} at {}", PLACES[place].name)
    })
}

/// The client is told that nobody listens, by the one that it spoke to.
fn refused(talk: &Talk, fate: Fate) -> Checked {
    let (place, frame) = arrived(fate)?;
    ensure(place == talk.opening.client, || format!("{} is told", PLACES[place].name))?;
    let said = read(&frame)?;
    let right = match &said {
        Content::Packet(packet) => {
            packet.flags == RST | ACK && (packet.source, packet.destination) == (talk.spoken, talk.client)
        }
        Content::Complaint(complaint) => {
            talk.opening.protocol != TCP && complaint.quoted == (talk.client, talk.spoken)
        }
    };
    ensure(right, || format!("refused by {said:?}"))
}
