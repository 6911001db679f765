//! The kernel's tables of services and translations, read from the kernel and not from what the agent believes.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use abi::nat::{ANSWERED, CLOSED, DIRECT, ENDED, OUT, TRACKED_ONLY};
use abi::service::{
    CLUSTER_IP, DSR, EXTERNAL_ALLOWED, EXTERNAL_IP, HOST_PORT, KIND_MASK, LOAD_BALANCER, LOCAL_REDIRECT,
    NODE_PORT, REDIRECTED, SOURCE_RANGES, SOURCE_RANGES_DENY,
};
use abi::{Addr, FrontendKey, NatKey, NatValue, SocketKey, SocketValue, SourceRangeKey};
use api::lb::{Backend, Frontend, Maglev, NatEntry, Scope, SocketEntry, SourceRange, Tables};
use axum::Json;
use axum::extract::{Path, State};
use loader::{MaglevTables, MapError, Maps, Object};

use super::{Answer, Context, Refused};

/// Runs `read` over the maps, away from who has pods to serve: tables may be large.
async fn read<T: Send + 'static>(
    context: &Context,
    read: impl FnOnce(&Maps) -> Result<T, MapError> + Send + 'static,
) -> Answer<T> {
    let object: Arc<Object> = context.handle.ask(|owner| owner.kernel.object().clone()).await?;
    let done = tokio::task::spawn_blocking(move || read(&object.maps)).await;
    let answer = done.map_err(anyhow::Error::from)?.map_err(anyhow::Error::from)?;
    Ok(Json(answer))
}

/// Frontends, backends and source ranges.
pub(super) async fn tables(State(context): State<Context>) -> Answer<Tables> {
    read(&context, |maps| {
        let mut rows = maps.frontends.dump()?;
        rows.sort_by_key(|(key, _)| (IpAddr::from(key.addr), u16::from_be(key.port), key.protocol));
        let frontends: Vec<Frontend> = rows.iter().map(|(key, row)| frontend(key, row)).collect();
        let scopes = frontends.iter().flat_map(|frontend| &frontend.scopes);
        let slots: BTreeSet<u32> =
            scopes.flat_map(|s| s.start..s.start.saturating_add(s.count).min(backend_slots(maps))).collect();
        let mut backends = Vec::with_capacity(slots.len());
        for slot in slots {
            if let Some(backend) = maps.backends.get(&slot)? {
                let address = IpAddr::from(backend.addr).to_string();
                backends.push(Backend { slot, address, port: u16::from_be(backend.port) });
            }
        }
        let mut ranges = maps.source_ranges.dump()?;
        ranges.sort_by_key(|(key, _)| (key.service, IpAddr::from(key.addr), key.len));
        let source_ranges = ranges.iter().map(|(key, _)| source_range(key)).collect();
        Ok(Tables { frontends, backends, source_ranges })
    })
    .await
}

fn backend_slots(maps: &Maps) -> u32 {
    maps.backends.map().spec().max_entries
}

fn frontend(key: &FrontendKey, row: &abi::Frontend) -> Frontend {
    let scope = |range: &abi::Range, internal| Scope { internal, start: range.start, count: range.count };
    let (external, internal) = (scope(&row.external, false), scope(&row.internal, false));
    let scopes = if row.flags & EXTERNAL_ALLOWED == 0 || external == internal {
        vec![internal]
    } else {
        vec![external, scope(&row.internal, true)]
    };
    Frontend {
        address: IpAddr::from(key.addr).to_string(),
        port: u16::from_be(key.port),
        protocol: key.protocol,
        service: row.service,
        flags: row.flags,
        flag_names: flag_names(row, scopes.len() > 1),
        affinity: row.affinity,
        scopes,
    }
}

/// Cilium's names, in its order. Traffic policies are not among them: the row holds what they come to.
fn flag_names(row: &abi::Frontend, two_scopes: bool) -> Vec<String> {
    let kind = match row.flags & KIND_MASK {
        CLUSTER_IP if row.flags & REDIRECTED != 0 => "LocalRedirect",
        CLUSTER_IP => "ClusterIP",
        NODE_PORT => "NodePort",
        EXTERNAL_IP => "ExternalIPs",
        LOAD_BALANCER => "LoadBalancer",
        HOST_PORT => "HostPort",
        LOCAL_REDIRECT => "LocalRedirect",
        _ => "unknown",
    };
    let has = |bit: u32| row.flags & bit != 0;
    let others = [
        (two_scopes, "two-scopes"),
        (row.affinity != 0, "sessionAffinity"),
        (!has(EXTERNAL_ALLOWED), "non-routable"),
        (has(SOURCE_RANGES), "check source-range"),
        (has(SOURCE_RANGES) && has(SOURCE_RANGES_DENY), "deny"),
        (has(DSR), "dsr"),
    ];
    let set = others.into_iter().filter(|(set, _)| *set).map(|(_, name)| name);
    [kind].into_iter().chain(set).map(str::to_owned).collect()
}

fn source_range(key: &SourceRangeKey) -> SourceRange {
    // The service's 32 bits always count.
    let bits = key.len.saturating_sub(32);
    let bits = if key.addr.is_v4() { bits.saturating_sub(96) } else { bits };
    SourceRange { prefix: format!("{}/{bits}", key.addr), service: key.service }
}

/// Service ports that choose by hash.
pub(super) async fn maglev(State(context): State<Context>) -> Answer<Vec<Maglev>> {
    read(&context, |maps| {
        let rows = maps.frontends.dump()?;
        let mut found = BTreeSet::new();
        for (key, row) in &rows {
            for range in [row.external, row.internal] {
                if let Some(table) = range.maglev.checked_sub(1) {
                    found.insert((row.service, !key.addr.is_v4(), table, range.start));
                }
            }
        }
        let model = |(service, is_v6, table, start)| {
            let family = if is_v6 { "v6" } else { "v4" }.to_owned();
            Maglev { service, family, table, start }
        };
        Ok(found.into_iter().map(model).collect())
    })
    .await
}

/// The rows of one Maglev table.
pub(super) async fn maglev_table(State(context): State<Context>, Path(table): Path<u32>) -> Answer<Vec<u16>> {
    let size = context.config.balancing.settings.maglev_size;
    let Json(found) = read(&context, move |maps| {
        // The kernel has no answer for slots that do not exist.
        let exists = table < maps.maglev.spec().max_entries;
        if exists { MaglevTables::new(&maps.maglev)?.read(table, size) } else { Ok(None) }
    })
    .await?;
    found.map(Json).ok_or_else(|| Refused::not_found(format_args!("a Maglev table {table}")))
}

/// Translated connections.
pub(super) async fn nat(State(context): State<Context>) -> Answer<Vec<NatEntry>> {
    read(&context, |maps| {
        let now = loader::monotonic_ns();
        let answered = maps.nat.dump()?.into_iter().map(|row| (row, false));
        let half_open = maps.nat_half_open.dump()?.into_iter().map(|row| (row, true));
        Ok(answered.chain(half_open).map(|((key, value), half)| nat_entry(&key, &value, half, now)).collect())
    })
    .await
}

fn nat_entry(key: &NatKey, value: &NatValue, half_open: bool, now: u64) -> NatEntry {
    let names = [
        (TRACKED_ONLY, "HostLocal"),
        (ANSWERED, "Answered"),
        (CLOSED, "Closed"),
        (ENDED, "Ended"),
        (DIRECT, "DSR"),
    ];
    let set = names.into_iter().filter(|(bit, _)| value.flags & bit != 0).map(|(_, name)| name.to_owned());
    NatEntry {
        protocol: key.protocol,
        direction: if key.direction == OUT { "OUT" } else { "IN" }.to_owned(),
        source: end(key.source, key.source_port),
        destination: end(key.destination, key.destination_port),
        new_source: end(value.source, value.source_port),
        new_destination: end(value.destination, value.destination_port),
        expires_in: value.expires.saturating_sub(now) / 1_000_000_000,
        flags: value.flags,
        flag_names: set.collect(),
        service: value.service,
        half_open,
    }
}

/// Sockets that were translated.
pub(super) async fn sockets(State(context): State<Context>) -> Answer<Vec<SocketEntry>> {
    read(&context, |maps| {
        let mut rows = maps.sockets.dump()?;
        rows.sort_by_key(|(key, _)| key.cookie);
        let model = |(key, value): (SocketKey, SocketValue)| SocketEntry {
            cookie: key.cookie,
            backend: end(key.backend.addr, key.backend.port),
            frontend: end(value.addr, value.port),
            service: value.service,
        };
        Ok(rows.into_iter().map(model).collect())
    })
    .await
}

/// `port` in network order.
fn end(address: Addr, port: u16) -> String {
    SocketAddr::new(address.into(), u16::from_be(port)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::Range;

    fn key(address: &str, port: u16) -> FrontendKey {
        let address: IpAddr = address.parse().expect("an address");
        FrontendKey { addr: address.into(), port: port.to_be(), protocol: 6, _pad: 0 }
    }

    fn range(start: u32, count: u32, maglev: u32) -> Range {
        Range { start, count, maglev }
    }

    #[test]
    fn frontends() {
        let row = abi::Frontend {
            service: 7,
            flags: CLUSTER_IP,
            internal: range(10, 2, 0),
            affinity: 10_800,
            ..abi::Frontend::default()
        };
        let cluster_ip = frontend(&key("10.96.0.1", 443), &row);
        assert_eq!((cluster_ip.address.as_str(), cluster_ip.port, cluster_ip.service), ("10.96.0.1", 443, 7));
        assert_eq!(cluster_ip.flag_names, ["ClusterIP", "sessionAffinity", "non-routable"]);
        assert_eq!(cluster_ip.scopes, [Scope { internal: false, start: 10, count: 2 }]);

        // Equal backends are one scope, also where only clients outside are led by a hash.
        let flags = NODE_PORT | EXTERNAL_ALLOWED | DSR;
        let row = abi::Frontend { flags, external: range(10, 2, 3), affinity: 0, ..row };
        let node_port = frontend(&key("::", 32_000), &row);
        assert_eq!((node_port.address.as_str(), node_port.scopes.len()), ("::", 1));
        assert_eq!(node_port.flag_names, ["NodePort", "dsr"]);

        let flags = LOAD_BALANCER | EXTERNAL_ALLOWED | SOURCE_RANGES | SOURCE_RANGES_DENY;
        let row = abi::Frontend { flags, external: range(20, 1, 0), ..row };
        let balanced = frontend(&key("192.0.2.1", 80), &row);
        let names = ["LoadBalancer", "two-scopes", "check source-range", "deny"];
        assert_eq!(balanced.flag_names, names);
        let scopes =
            [Scope { internal: false, start: 20, count: 1 }, Scope { internal: true, start: 10, count: 2 }];
        assert_eq!(balanced.scopes, scopes);
    }

    #[test]
    fn ranges_of_both_families() {
        let range = |address: &str, len| {
            let address: IpAddr = address.parse().expect("an address");
            source_range(&SourceRangeKey { len, service: 7, addr: address.into() }).prefix
        };
        assert_eq!(range("10.0.0.0", 32 + 96 + 8), "10.0.0.0/8");
        assert_eq!(range("2001:db8::", 32 + 32), "2001:db8::/32");
        assert_eq!(range("::", 32), "::/0");
    }

    #[test]
    fn translations() {
        let address = |text: &str| Addr::from(text.parse::<IpAddr>().expect("an address"));
        let key = NatKey {
            source: address("10.0.1.5"),
            destination: address("172.18.0.2"),
            source_port: 40_000_u16.to_be(),
            destination_port: 32_000_u16.to_be(),
            protocol: 6,
            direction: OUT,
            _pad: 0,
        };
        let value = NatValue {
            source: address("172.18.0.2"),
            destination: address("10.0.2.6"),
            source_port: 40_001_u16.to_be(),
            destination_port: 80_u16.to_be(),
            flags: ANSWERED | DIRECT,
            expires: 9_000_000_000,
            service: 7,
            epoch: 1,
        };
        let entry = nat_entry(&key, &value, false, 2_500_000_000);
        assert_eq!((entry.direction.as_str(), entry.expires_in, entry.service), ("OUT", 6, 7));
        assert_eq!(
            (entry.source.as_str(), entry.destination.as_str()),
            ("10.0.1.5:40000", "172.18.0.2:32000")
        );
        assert_eq!(entry.new_source, "172.18.0.2:40001");
        assert_eq!(entry.new_destination, "10.0.2.6:80");
        assert_eq!(entry.flag_names, ["Answered", "DSR"]);
        assert_eq!(nat_entry(&key, &value, true, u64::MAX).expires_in, 0);
    }
}
