//! Routes. Ours carry [`PROTOCOL`], so that nothing else is ever listed as ours or removed.

use crate::error::NetlinkError;
use crate::link::{optional, with_ack};
use crate::socket::Netlink;
use crate::wire::{Attributes, Message, Received, family, ip, u32_at};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Who made a route, as in `ip route show proto 181`: this project.
pub const PROTOCOL: u8 = 181;
/// The table that packets are routed by.
pub const TABLE_MAIN: u32 = 254;
/// The table of the node's own addresses.
pub const TABLE_LOCAL: u32 = 255;

/// Length of `struct rtmsg`.
const RTMSG: usize = 12;
/// `linux/rtnetlink.h`: the next hop counts as on the link. libc has neither of the two.
const RTNH_F_ONLINK: u32 = 4;
const RTAX_MTU: u16 = 2;
/// Priority that the kernel gives an IPv6 route when none is asked for.
const IPV6_DEFAULT_METRIC: u32 = 1024;

/// What happens to packets that meet a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RouteKind {
    /// They are sent on.
    #[default]
    Unicast,
    /// They are dropped in silence.
    Blackhole,
    /// They are dropped, and the sender is told.
    Unreachable,
}

/// A route. Two that are equal are the same to the kernel: fields hold what it reports back.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Route {
    /// Where to; host bits are ignored.
    pub destination: IpNet,
    /// What happens.
    pub kind: RouteKind,
    /// Index of the interface; 0 only where nothing is sent.
    pub link: u32,
    /// Next hop; none: the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// Whether the next hop is taken to be on the link, whatever other routes say.
    pub onlink: bool,
    /// Source address for what the node itself sends.
    pub source: Option<IpAddr>,
    /// Largest packet, bytes; none: as the interface says.
    pub mtu: Option<u32>,
    /// Priority among routes of the same destination, lower first; 0 = the kernel's default for the family.
    pub metric: u32,
    /// Table.
    pub table: u32,
    /// Who made it.
    pub protocol: u8,
}

impl Route {
    /// One of ours in the main table, on the link.
    pub fn to(destination: IpNet, link: u32) -> Self {
        Route {
            destination: destination.trunc(),
            kind: RouteKind::Unicast,
            link,
            gateway: None,
            onlink: false,
            source: None,
            mtu: None,
            metric: 0,
            table: TABLE_MAIN,
            protocol: PROTOCOL,
        }
    }

    /// The default route of the gateway's family, one of ours in the main table.
    pub fn default_via(gateway: IpAddr, link: u32) -> Self {
        Route { gateway: Some(gateway), ..Route::to(everything(gateway), link) }
    }

    /// The same with a next hop.
    pub fn via(mut self, gateway: IpAddr) -> Self {
        self.gateway = Some(gateway);
        self
    }

    /// The same with an MTU; 0 = as the interface.
    pub fn with_mtu(mut self, mtu: u32) -> Self {
        self.mtu = (mtu != 0).then_some(mtu);
        self
    }

    /// The same with a source address.
    pub fn from(mut self, source: IpAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// Whether this is a default route.
    pub fn is_default(&self) -> bool {
        self.destination.prefix_len() == 0
    }
}

/// How the node would reach an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// Index of the interface.
    pub link: u32,
    /// Next hop, if it is not on the link.
    pub gateway: Option<IpAddr>,
    /// Source address that would be used.
    pub source: Option<IpAddr>,
}

impl Netlink {
    /// Puts a route in place; a repetition changes nothing. A route to the same destination with the same metric in the
    /// same table is replaced, **whoever made it**.
    pub fn replace_route(&mut self, route: &Route) -> Result<(), NetlinkError> {
        let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
        self.execute(request(libc::RTM_NEWROUTE, flags, route), || describe("set", route))
    }

    /// Adds a route that must not exist yet.
    pub fn add_route(&mut self, route: &Route) -> Result<(), NetlinkError> {
        self.execute(request(libc::RTM_NEWROUTE, crate::link::CREATE, route), || describe("add", route))
    }

    /// Removes a route, if all its fields (protocol and next hop too) are those of `route`; says whether it was there.
    pub fn delete_route(&mut self, route: &Route) -> Result<bool, NetlinkError> {
        let result =
            self.execute(request(libc::RTM_DELROUTE, libc::NLM_F_ACK, route), || describe("remove", route));
        optional(result).map(|done| done.is_some())
    }

    /// All routes of both families, without the kernel's own of the local table.
    pub fn routes(&mut self) -> Result<Vec<Route>, NetlinkError> {
        let message = Message::new(libc::RTM_GETROUTE, libc::NLM_F_DUMP, &[0; RTMSG]);
        let all = self.list(message, || "list routes".to_owned(), parse)?;
        Ok(all.into_iter().filter(|route| route.table != TABLE_LOCAL).collect())
    }

    /// The routes that carry [`PROTOCOL`], in any table.
    pub fn owned_routes(&mut self) -> Result<Vec<Route>, NetlinkError> {
        Ok(self.routes()?.into_iter().filter(|route| route.protocol == PROTOCOL).collect())
    }

    /// The default route of the main table that wins, by family.
    pub fn default_route(&mut self, ipv6: bool) -> Result<Option<Route>, NetlinkError> {
        let wanted = |route: &Route| {
            route.is_default()
                && route.destination.addr().is_ipv6() == ipv6
                && route.table == TABLE_MAIN
                && route.kind == RouteKind::Unicast
        };
        Ok(self.routes()?.into_iter().filter(wanted).min_by_key(|route| route.metric))
    }

    /// How the node would reach `destination`; none if it cannot.
    pub fn lookup(&mut self, destination: IpAddr) -> Result<Option<Lookup>, NetlinkError> {
        let mut header = [0; RTMSG];
        header[0] = family(destination);
        header[1] = IpNet::from(destination).prefix_len();
        let mut message = Message::new(libc::RTM_GETROUTE, 0, &header);
        message.put_ip(libc::RTA_DST, destination);
        let result = self.ask(with_ack(message), || format!("look up the route to {destination}"), parse);
        match result {
            Ok(Route { kind: RouteKind::Unicast, link, gateway, source, .. }) => {
                Ok(Some(Lookup { link, gateway, source }))
            }
            Ok(_) | Err(NetlinkError::Malformed { .. }) => Ok(None),
            Err(error)
                if matches!(
                    error.errno(),
                    Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL)
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

fn everything(of: IpAddr) -> IpNet {
    match of {
        IpAddr::V4(_) => Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

fn describe(verb: &str, route: &Route) -> String {
    let via = route.gateway.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
    format!("{verb} the route to {}{via} on the interface with index {}", route.destination, route.link)
}

/// `struct rtmsg`: family, lengths of destination and source, tos, table, protocol, scope, type, flags.
fn request(kind: u16, flags: i32, route: &Route) -> Message {
    let destination = route.destination.trunc();
    let mut header = [0; RTMSG];
    header[0] = family(destination.addr());
    header[1] = destination.prefix_len();
    header[4] = u8::try_from(route.table).unwrap_or(libc::RT_TABLE_UNSPEC);
    header[5] = route.protocol;
    // IPv4 wants to know whether a next hop is on the link; IPv6 ignores the scope.
    let on_link = route.kind == RouteKind::Unicast && route.gateway.is_none();
    header[6] = if on_link { libc::RT_SCOPE_LINK } else { libc::RT_SCOPE_UNIVERSE };
    header[7] = match route.kind {
        RouteKind::Unicast => libc::RTN_UNICAST,
        RouteKind::Blackhole => libc::RTN_BLACKHOLE,
        RouteKind::Unreachable => libc::RTN_UNREACHABLE,
    };
    if route.onlink {
        header[8..12].copy_from_slice(&RTNH_F_ONLINK.to_ne_bytes());
    }
    let mut message = Message::new(kind, flags, &header);
    message.put_u32(libc::RTA_TABLE, route.table);
    if destination.prefix_len() > 0 {
        message.put_ip(libc::RTA_DST, destination.addr());
    }
    if let Some(gateway) = route.gateway {
        message.put_ip(libc::RTA_GATEWAY, gateway);
    }
    if route.link != 0 {
        message.put_u32(libc::RTA_OIF, route.link);
    }
    if let Some(source) = route.source {
        message.put_ip(libc::RTA_PREFSRC, source);
    }
    if route.metric != 0 {
        message.put_u32(libc::RTA_PRIORITY, route.metric);
    }
    if let Some(mtu) = route.mtu {
        message.nest(libc::RTA_METRICS, |metrics| metrics.put_u32(RTAX_MTU, mtu));
    }
    message
}

/// Reads an RTM_NEWROUTE (or RTM_DELROUTE) message. Routes of other kinds (local, multicast, …) are left out.
pub(crate) fn parse(received: Received<'_>) -> Option<Route> {
    if received.kind != libc::RTM_NEWROUTE && received.kind != libc::RTM_DELROUTE {
        return None;
    }
    let header: &[u8; RTMSG] = received.payload.get(..RTMSG)?.try_into().ok()?;
    let ipv6 = i32::from(header[0]) == libc::AF_INET6;
    if !ipv6 && i32::from(header[0]) != libc::AF_INET {
        return None;
    }
    let kind = match header[7] {
        libc::RTN_UNICAST => RouteKind::Unicast,
        libc::RTN_BLACKHOLE => RouteKind::Blackhole,
        libc::RTN_UNREACHABLE => RouteKind::Unreachable,
        _ => return None,
    };
    let unspecified =
        if ipv6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
    let mut route = Route::to(IpNet::new(unspecified, 0).ok()?, 0);
    route.kind = kind;
    route.table = u32::from(header[4]);
    route.protocol = header[5];
    route.onlink = u32_at(header, 8)? & RTNH_F_ONLINK != 0;
    for (kind, value) in Attributes::after(received.payload, RTMSG) {
        match kind {
            libc::RTA_DST => route.destination = IpNet::new(ip(value)?, header[1]).ok()?,
            libc::RTA_OIF => route.link = u32_at(value, 0)?,
            libc::RTA_GATEWAY => route.gateway = ip(value),
            libc::RTA_PREFSRC => route.source = ip(value),
            libc::RTA_PRIORITY => route.metric = u32_at(value, 0)?,
            libc::RTA_TABLE => route.table = u32_at(value, 0)?,
            libc::RTA_METRICS => {
                route.mtu =
                    Attributes(value).find(|(kind, _)| *kind == RTAX_MTU).and_then(|(_, mtu)| u32_at(mtu, 0));
            }
            _ => {}
        }
    }
    if ipv6 && route.metric == IPV6_DEFAULT_METRIC {
        route.metric = 0;
    }
    if kind != RouteKind::Unicast {
        // IPv6 names loopback for routes that send nothing.
        route.link = 0;
    }
    Some(route)
}
