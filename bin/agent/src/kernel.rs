//! The kernel's side of the desired state: maps, policy tables, links and routes, written in the order that
//! [`agent_core::Update`] asks for.

mod policies;
mod repair;
mod targets;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use abi::maps as names;
use abi::{Addr, IpcacheEntry, PodFacts, PrefixKey};
use agent_core::{PodRow, PolicyWrite, State, Update};
use anyhow::{Context, Result};
use ipnet::IpNet;
use loader::{Hook, LinkKey, LinkPlace, Links, Object, Owner, PolicyTables};
use netlink::{Link, Netlink, Route};
use policy::TableId;
use reconcile::{Reconciler, Report};

use crate::config::Acceleration;
use crate::devices::Devices;
use policies::Leaving;
use targets::RouteTarget;
pub(crate) use targets::Shared;

/// Spare policy tables that wait in the kernel: as many as a burst of new policies needs at once.
const SPARE_TABLES: usize = 16;

/// Everything this agent keeps in the kernel.
pub(crate) struct Kernel {
    object: Arc<Object>,
    links: Links,
    devices: Devices,
    acceleration: Acceleration,
    netlink: Netlink,
    tables: PolicyTables,
    slots: BTreeMap<TableId, u32>,
    /// Tables that could not be written and are tried again.
    unpublished: BTreeMap<TableId, Arc<policy::PolicyTable>>,
    /// Tables with more entries than there is room for, and how many: their pods are closed.
    locked: BTreeMap<TableId, usize>,
    /// Slots that pods are moving away from.
    retired: Vec<u32>,
    rows: BTreeMap<u32, PodRow>,
    pods: Reconciler<u32, PodFacts>,
    local: Reconciler<Addr, u32>,
    blocks: Reconciler<PrefixKey, u32>,
    hosts: Reconciler<Addr, IpcacheEntry>,
    prefixes: Reconciler<PrefixKey, IpcacheEntry>,
    no_masquerade: Reconciler<PrefixKey, u32>,
    routes: Reconciler<IpNet, Route>,
    /// What was written to which table, since the start.
    written: BTreeMap<&'static str, Report>,
    /// Programs of others that were told of.
    foreign: BTreeSet<repair::ForeignKey>,
    /// The first complete state was written; until then nothing of the last run is taken away.
    primed: bool,
    revision: u64,
}

impl Kernel {
    /// Takes over what the kernel holds from the last run. Nothing changes yet.
    ///
    /// # Errors
    /// Maps or routes cannot be read.
    pub(crate) fn adopt(
        object: Arc<Object>,
        links: Links,
        devices: Devices,
        mut netlink: Netlink,
        acceleration: Acceleration,
    ) -> Result<Self> {
        let maps = &object.maps;
        let outer = maps.policies.try_clone().context("cannot open the policy tables")?;
        let tables = PolicyTables::adopt(outer, SPARE_TABLES)
            .context("cannot read the policy tables of the last run")?;
        let mut pods = Reconciler::new();
        pods.adopt(maps.pods.dump().context("cannot read the pods of the last run")?, |_, _| true);
        let mut local = Reconciler::new();
        local.adopt(maps.local.dump().context("cannot read the pod addresses of the last run")?, |_, _| true);
        let mut blocks = Reconciler::new();
        blocks.adopt(maps.blocks.dump().context("cannot read the blocks of the last run")?, |_, _| true);
        let mut hosts = Reconciler::new();
        hosts.adopt(maps.hosts.dump().context("cannot read the addresses of the last run")?, |_, _| true);
        let mut prefixes = Reconciler::new();
        prefixes
            .adopt(maps.prefixes.dump().context("cannot read the prefixes of the last run")?, |_, _| true);
        let spared = maps
            .no_masquerade
            .dump()
            .context("cannot read the destinations that the last run did not masquerade")?;
        let mut no_masquerade = Reconciler::new();
        no_masquerade.adopt(spared.iter().copied(), |_, _| true);
        // They hold until a list is known.
        no_masquerade.replace(spared.into_iter().collect(), 0);
        let mut routes = Reconciler::new();
        let owned = netlink.owned_routes().context("cannot read the routes of the last run")?;
        routes.adopt(owned.into_iter().map(|r| (r.destination, r)), |_, _| true);
        let mut kernel = Self {
            links,
            devices,
            acceleration,
            netlink,
            tables,
            slots: BTreeMap::new(),
            unpublished: BTreeMap::new(),
            locked: BTreeMap::new(),
            retired: Vec::new(),
            rows: BTreeMap::new(),
            pods,
            local,
            blocks,
            hosts,
            prefixes,
            no_masquerade,
            routes,
            written: BTreeMap::new(),
            foreign: BTreeSet::new(),
            primed: false,
            revision: 0,
            object,
        };
        for (prefix, route) in kernel.devices.own_routes() {
            kernel.routes.set(prefix, route, 0);
        }
        Ok(kernel)
    }

    /// Writes an update. What fails is kept and tried again by [`Kernel::run`].
    pub(crate) fn apply(&mut self, update: Update, state: &State, now: Duration) {
        let revision = update.revision;
        self.revision = revision;
        let mut leaving = Vec::new();
        let edited = !update.policies.is_empty();
        for write in update.policies {
            match write {
                PolicyWrite::Create { id, table } => self.publish(id, table),
                PolicyWrite::Edit { id, delta } => leaving.extend(self.edit(id, delta, state)),
                PolicyWrite::Remove { id } => leaving.push(Leaving::Table(id)),
            }
        }
        set_all(&mut self.blocks, update.blocks, revision);
        set_all(&mut self.hosts, update.hosts, revision);
        set_all(&mut self.prefixes, update.prefixes, revision);
        set_all(&mut self.local, update.local, revision);
        let devices = &self.devices;
        let routes = update
            .routes
            .into_iter()
            .map(|(prefix, route)| (prefix, route.map(|r| devices.route(prefix, r))));
        set_all(&mut self.routes, routes.collect(), revision);
        for (ifindex, row) in update.pods {
            match row {
                Some(row) => self.rows.insert(ifindex, row),
                None => self.rows.remove(&ifindex),
            };
            self.place(ifindex, revision);
        }
        self.advance(revision);
        let changed = self.write(now) || edited;
        for leaving in leaving {
            self.leave(leaving, state);
        }
        self.retire(now);
        if !self.primed {
            self.primed = true;
            self.tables.release_unclaimed(now);
        }
        if changed {
            self.bump_epoch();
        }
    }

    /// Sets the destinations towards which pods keep their own address; [`Kernel::run`] writes them.
    pub(crate) fn set_no_masquerade(&mut self, prefixes: &BTreeSet<IpNet>) {
        let rows = prefixes.iter().map(|prefix| (agent_core::prefix_key(*prefix), 1));
        self.no_masquerade.replace(rows.collect(), self.revision);
    }

    /// Tries again what is due, and recycles tables.
    pub(crate) fn run(&mut self, now: Duration) {
        if !self.primed {
            return;
        }
        let failed = std::mem::take(&mut self.unpublished);
        let retried = !failed.is_empty();
        for (id, table) in failed {
            self.publish(id, table);
            self.place_users(id);
        }
        if self.write(now) || retried {
            self.bump_epoch();
        }
        self.retire(now);
        self.tables.tick(now);
    }

    /// When [`Kernel::run`] has something to do again.
    pub(crate) fn next_run(&self) -> Option<Duration> {
        let tables = [self.pods.next_run(), self.local.next_run(), self.blocks.next_run()];
        let more = [self.hosts.next_run(), self.prefixes.next_run(), self.routes.next_run()];
        tables.into_iter().chain(more).chain([self.no_masquerade.next_run()]).flatten().min()
    }

    /// The newest revision of which everything that decides about packets is in the kernel.
    pub(crate) fn realized(&self) -> u64 {
        if !self.unpublished.is_empty() {
            // Whoever waits for a table waits on; the rows of others are not worse for it.
            return self.pods.realized().min(self.revision.saturating_sub(1));
        }
        let tables = [self.pods.realized(), self.local.realized(), self.blocks.realized()];
        let addresses = [self.hosts.realized(), self.prefixes.realized()];
        tables.into_iter().chain(addresses).min().unwrap_or_default()
    }

    /// Rows that could not be written, each in one line.
    pub(crate) fn failures(&self) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        lines.extend(self.pods.failures().map(|(k, f)| format!("pod behind interface {k}: {}", f.error)));
        lines.extend(self.local.failures().map(|(k, f)| format!("pod address {k}: {}", f.error)));
        lines.extend(self.blocks.failures().map(|(k, f)| format!("block {}/{}: {}", k.addr, k.len, f.error)));
        lines.extend(self.hosts.failures().map(|(k, f)| format!("address {k}: {}", f.error)));
        lines.extend(
            self.prefixes.failures().map(|(k, f)| format!("prefix {}/{}: {}", k.addr, k.len, f.error)),
        );
        lines.extend(
            self.no_masquerade
                .failures()
                .map(|(k, f)| format!("destination {}/{} not to masquerade: {}", k.addr, k.len, f.error)),
        );
        lines.extend(self.routes.failures().map(|(k, f)| format!("route to {k}: {}", f.error)));
        lines.extend(self.locked.iter().map(|(id, entries)| {
            let pods = self.rows.values().filter(|row| row.table == *id);
            let pods: Vec<String> = pods.map(|row| row.facts.endpoint.to_string()).collect();
            format!(
                "policy table {}: {entries} entries do not fit into {}: endpoints {} are locked down",
                id.0,
                abi::maps::size::POLICY,
                pods.join(", ")
            )
        }));
        lines.extend(
            self.unpublished.keys().map(|id| format!("policy table {}: no room in the kernel", id.0)),
        );
        lines
    }

    /// What was written to which table, since the start.
    pub(crate) fn written(&self) -> &BTreeMap<&'static str, Report> {
        &self.written
    }

    /// Addresses and prefixes that could not be written so far, as of now.
    pub(crate) fn ipcache_errors(&self) -> usize {
        self.hosts.failures().count() + self.prefixes.failures().count()
    }

    /// How many entries each table has, and how many it can have.
    pub(crate) fn fill(&self) -> Vec<(&'static str, usize, usize)> {
        let maps = &self.object.maps;
        let room = |map: &loader::Map| map.spec().max_entries as usize;
        vec![
            (names::PODS, self.pods.desired().len(), room(maps.pods.map())),
            (names::LOCAL, self.local.desired().len(), room(maps.local.map())),
            (names::HOSTS, self.hosts.desired().len(), room(maps.hosts.map())),
            (names::PREFIXES, self.prefixes.desired().len(), room(maps.prefixes.map())),
            (names::BLOCKS, self.blocks.desired().len(), room(maps.blocks.map())),
            (names::POLICIES, self.tables.stats().live, room(&maps.policies)),
        ]
    }

    /// Makes every flow be decided again: something outside the tables changed, a route say.
    pub(crate) fn bump_epoch(&self) {
        if let Err(error) = self.object.maps.epoch.bump() {
            tracing::error!(%error, "the generation cannot be raised: flows keep their old verdicts until they end");
        }
    }

    /// The slot of a policy table.
    pub(crate) fn slot(&self, id: TableId) -> Option<u32> {
        self.slots.get(&id).copied()
    }

    /// The newest revision that was asked for.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// What lies in a slot.
    ///
    /// # Errors
    /// The kernel refuses to read.
    pub(crate) fn read_table(&self, slot: u32) -> Result<loader::PolicyContent, loader::MapError> {
        self.tables.content(slot)
    }

    /// The loaded object with its maps.
    pub(crate) fn object(&self) -> &Arc<Object> {
        &self.object
    }

    /// The node's devices.
    pub(crate) fn devices(&self) -> &Devices {
        &self.devices
    }

    /// Puts the pod program on a pod's device. Before its row is written the program drops everything.
    ///
    /// # Errors
    /// The device is gone, or the kernel refuses.
    pub(crate) fn attach_pod(&self, id: u16, ifindex: u32) -> Result<loader::Change> {
        self.attach(Owner::Endpoint(id.to_string()), "pod_egress", ifindex, Hook::Ingress)
    }

    /// Takes the pod program off a pod's device, which may be gone.
    pub(crate) fn detach_pod(&self, id: u16) {
        let key = LinkKey { owner: Owner::Endpoint(id.to_string()), program: "pod_egress".to_owned() };
        if let Err(error) = self.links.remove(&key) {
            tracing::warn!(endpoint = id, error = %crate::text(&error), "cannot remove the link of a pod");
        }
    }

    /// Puts the node's programs on its devices, in place of those of an older version.
    ///
    /// # Errors
    /// A device is gone, or the kernel refuses.
    pub(crate) fn attach_node(&self) -> Result<()> {
        for (device, program, hook) in self.node_places() {
            let attached = self.attach_device(&device.name, program, device.index, hook);
            if hook == Hook::XdpNative && attached.is_err() && self.acceleration == Acceleration::BestEffort {
                tracing::warn!(
                    device = device.name,
                    "the driver has no XDP: services take the way through the stack"
                );
                continue;
            }
            attached?;
        }
        Ok(())
    }

    /// Which program runs where on the node's devices.
    fn node_places(&self) -> Vec<(&Link, &'static str, Hook)> {
        let Devices { host, tunnel, native, .. } = &self.devices;
        let mut places = vec![(host, "host_egress", Hook::Egress)];
        places.extend(tunnel.iter().map(|tunnel| (tunnel, "overlay_ingress", Hook::Ingress)));
        for device in native {
            places
                .extend([(device, "netdev_ingress", Hook::Ingress), (device, "netdev_egress", Hook::Egress)]);
            match self.acceleration {
                Acceleration::Disabled => {}
                Acceleration::Native | Acceleration::BestEffort => {
                    places.push((device, "xdp_ingress", Hook::XdpNative));
                }
                Acceleration::Generic => places.push((device, "xdp_ingress", Hook::XdpGeneric)),
            }
        }
        places
    }

    fn attach_device(&self, name: &str, program: &str, ifindex: u32, hook: Hook) -> Result<loader::Change> {
        self.attach(Owner::Device(name.to_owned()), program, ifindex, hook)
    }

    /// Removes links of pods whose device is gone, and of devices that are not among ours any more.
    pub(crate) fn sweep_links(&self, state: &State) {
        let listed = match self.links.list() {
            Ok(listed) => listed,
            Err(error) => return tracing::warn!(error = %crate::text(&error), "cannot list the links"),
        };
        for (key, place) in listed {
            let ours = match &key.owner {
                // Without a row the program drops what the pod sends; without the program nothing would.
                Owner::Endpoint(id) => {
                    place.ifindex != 0 || id.parse().is_ok_and(|id| state.endpoint(id).is_some())
                }
                Owner::Device(name) => self
                    .node_places()
                    .iter()
                    .any(|(device, program, _)| device.name == *name && *program == key.program),
            };
            if !ours {
                tracing::info!(owner = ?key.owner, program = key.program, "removing a link that nobody needs any more");
                if let Err(error) = self.links.remove(&key) {
                    tracing::warn!(error = %crate::text(&error), "cannot remove a link");
                }
            }
        }
    }

    fn attach(&self, owner: Owner, program: &str, ifindex: u32, hook: Hook) -> Result<loader::Change> {
        let loaded =
            self.object.program(program).with_context(|| format!("axoneme.o has no program {program}"))?;
        let key = LinkKey { owner, program: program.to_owned() };
        let place = LinkPlace { ifindex, hook, program_id: loaded.id() };
        let change = self.links.ensure(&key, &place, loaded)?;
        if change != loader::Change::Nothing {
            tracing::debug!(owner = ?key.owner, program, ifindex, ?change, "link");
        }
        Ok(change)
    }

    /// Brings the row of a pod in line with the slot of its table.
    fn place(&mut self, ifindex: u32, revision: u64) {
        let Some(row) = self.rows.get(&ifindex) else {
            return self.pods.remove(&ifindex, revision);
        };
        // Without a slot its old row stays, and with it its old policy.
        if let Some(slot) = self.slots.get(&row.table) {
            self.pods.set(ifindex, PodFacts { policy: *slot, ..row.facts }, revision);
        }
    }

    fn place_users(&mut self, id: TableId) {
        let users: Vec<u32> =
            self.rows.iter().filter(|(_, row)| row.table == id).map(|(ifindex, _)| *ifindex).collect();
        for ifindex in users {
            self.place(ifindex, self.revision);
        }
    }

    fn advance(&mut self, revision: u64) {
        self.pods.advance(revision);
        self.local.advance(revision);
        self.blocks.advance(revision);
        self.hosts.advance(revision);
        self.prefixes.advance(revision);
        self.routes.advance(revision);
    }

    /// Writes all tables that have something to write; says whether anything changed.
    fn write(&mut self, now: Duration) -> bool {
        let maps = &self.object.maps;
        let mut reports: Vec<(&'static str, Report)> = vec![
            (names::BLOCKS, self.blocks.run(&mut Shared(&maps.blocks), now)),
            (names::HOSTS, self.hosts.run(&mut Shared(&maps.hosts), now)),
            (names::PREFIXES, self.prefixes.run(&mut Shared(&maps.prefixes), now)),
            (names::NO_MASQUERADE, self.no_masquerade.run(&mut Shared(&maps.no_masquerade), now)),
        ];
        // An address never leads to a pod whose row is not there.
        self.pods.hold_deletes(true);
        reports.push((names::PODS, self.pods.run(&mut Shared(&maps.pods), now)));
        reports.push((names::LOCAL, self.local.run(&mut Shared(&maps.local), now)));
        self.pods.hold_deletes(false);
        reports.push((names::PODS, self.pods.run(&mut Shared(&maps.pods), now)));
        reports.push(("routes", self.routes.run(&mut RouteTarget(&mut self.netlink), now)));
        for (table, report) in &reports {
            let sum = self.written.entry(table).or_default();
            sum.upserted += report.upserted;
            sum.deleted += report.deleted;
            sum.failed += report.failed;
        }
        if reports.iter().any(|(_, r)| r.failed > 0) {
            for line in self.failures() {
                tracing::warn!(problem = line, "not written yet, will be tried again");
            }
        }
        reports.iter().any(|(_, r)| !r.is_silent())
    }
}

fn set_all<K: Ord + Clone, V: Clone + PartialEq>(
    table: &mut Reconciler<K, V>,
    delta: agent_core::Delta<K, V>,
    revision: u64,
) {
    for (key, value) in delta {
        match value {
            Some(value) => table.set(key, value, revision),
            None => table.remove(&key, revision),
        }
    }
}
