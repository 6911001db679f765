//! One line about what a packet or message is, in the words of `hubble observe`.

use crate::model::{L4, L7, L7Kind, L7Record, TcpFlags};
use std::fmt::Write;

/// About a packet: `TCP Flags: SYN, ACK`, `UDP`, `ICMPv4 EchoRequest`.
pub fn l4(l4: &L4) -> String {
    match *l4 {
        L4::Tcp { flags: Some(flags), .. } => format!("TCP Flags: {}", tcp_flags(flags)),
        L4::Tcp { flags: None, .. } => "TCP".to_owned(),
        L4::Udp { .. } => "UDP".to_owned(),
        L4::Sctp { .. } => "SCTP".to_owned(),
        L4::Icmp4 { kind, code } => format!("ICMPv4 {}", icmp(ICMP4, kind, code)),
        L4::Icmp6 { kind, code } => format!("ICMPv6 {}", icmp(ICMP6, kind, code)),
        L4::Vrrp { .. } => "VRRP".to_owned(),
        L4::Igmp { .. } => "IGMP".to_owned(),
    }
}

/// The flags by name, comma-separated.
pub fn tcp_flags(flags: TcpFlags) -> String {
    let names = TcpFlags::NAMES.iter().filter(|(bit, _)| flags.0 & bit != 0).map(|(_, name)| *name);
    names.collect::<Vec<_>>().join(", ")
}

/// About a message of layer 7: `HTTP/1.1 GET http://h/p`, `DNS Query a.b. A`.
pub fn l7(l7: &L7) -> String {
    let answers = l7.kind == L7Kind::Response;
    match &l7.record {
        L7Record::Other => String::new(),
        L7Record::Http { code, method, url, protocol, .. } => {
            if answers {
                let ms = l7.latency / 1_000_000;
                format!("{protocol} {code} {ms}ms ({method} {url})")
            } else {
                format!("{protocol} {method} {url}")
            }
        }
        L7Record::Dns { query, ips, ttl, cnames, observed_by, rcode, qtypes, .. } => {
            let asked = format!("{query} {}", qtypes.join(","));
            if !answers {
                return format!("DNS Query {asked}");
            }
            let by = if observed_by.is_empty() { String::new() } else { capitalised(observed_by) };
            if *rcode != 0 {
                return format!("DNS Answer RCode: {} ({by} {asked})", rcode_name(*rcode));
            }
            let mut answer = String::from("DNS Answer ");
            if !ips.is_empty() {
                let _ = write!(answer, "{:?} ", ips.join(","));
            }
            let _ = write!(answer, "TTL: {ttl} ");
            if !cnames.is_empty() {
                let _ = write!(answer, "(CNAMEs: {:?}) ", cnames.join(","));
            }
            let _ = write!(answer, "({by} {asked})");
            answer
        }
        L7Record::Kafka { error_code, api_key, correlation_id, topic, .. } => {
            if answers {
                let ms = l7.latency / 1_000_000;
                format!(
                    "Kafka response {api_key} topic {topic:?} correlation ID {correlation_id} return code {error_code} {ms}ms"
                )
            } else {
                format!("Kafka request {api_key} correlation id {correlation_id} topic {topic:?}")
            }
        }
    }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn rcode_name(code: u32) -> String {
    const NAMES: [&str; 6] =
        ["", "Format Error", "Server Failure", "Non-Existent Domain", "Not Implemented", "Query Refused"];
    usize::try_from(code)
        .ok()
        .and_then(|i| NAMES.get(i))
        .map_or_else(|| code.to_string(), |name| (*name).to_owned())
}

/// A type of ICMP message: its number, its name, and the names of its codes from 0 on (empty: it has none).
type Message = (u8, &'static str, &'static [&'static str]);

const ICMP4: &[Message] = &[
    (0, "EchoReply", &[]),
    (
        3,
        "DestinationUnreachable",
        &[
            "Net",
            "Host",
            "Protocol",
            "Port",
            "FragmentationNeeded",
            "SourceRoutingFailed",
            "NetUnknown",
            "HostUnknown",
            "SourceIsolated",
            "NetAdminProhibited",
            "HostAdminProhibited",
            "NetTOS",
            "HostTOS",
            "CommAdminProhibited",
            "HostPrecedence",
            "PrecedenceCutoff",
        ],
    ),
    (4, "SourceQuench", &[]),
    (5, "Redirect", &["Net", "Host", "TOS+Net", "TOS+Host"]),
    (8, "EchoRequest", &[]),
    (9, "RouterAdvertisement", &[]),
    (10, "RouterSolicitation", &[]),
    (11, "TimeExceeded", &["TTLExceeded", "FragmentReassemblyTimeExceeded"]),
    (12, "ParameterProblem", &["PointerIndicatesError", "MissingOption", "BadLength"]),
    (13, "TimestampRequest", &[]),
    (14, "TimestampReply", &[]),
    (15, "InfoRequest", &[]),
    (16, "InfoReply", &[]),
    (17, "AddressMaskRequest", &[]),
    (18, "AddressMaskReply", &[]),
];

const ICMP6: &[Message] = &[
    (
        1,
        "DestinationUnreachable",
        &[
            "NoRouteToDst",
            "AdminProhibited",
            "BeyondScopeOfSrc",
            "AddressUnreachable",
            "PortUnreachable",
            "SrcAddressFailedPolicy",
            "RejectRouteToDst",
        ],
    ),
    (2, "PacketTooBig", &[]),
    (3, "TimeExceeded", &["HopLimitExceeded", "FragmentReassemblyTimeExceeded"]),
    (4, "ParameterProblem", &["ErroneousHeader", "UnrecognizedNextHeader", "UnrecognizedIPv6Option"]),
    (128, "EchoRequest", &[]),
    (129, "EchoReply", &[]),
    (130, "MLDv1MulticastListenerQueryMessage", &[]),
    (131, "MLDv1MulticastListenerReportMessage", &[]),
    (132, "MLDv1MulticastListenerDoneMessage", &[]),
    (133, "RouterSolicitation", &[]),
    (134, "RouterAdvertisement", &[]),
    (135, "NeighborSolicitation", &[]),
    (136, "NeighborAdvertisement", &[]),
    (137, "Redirect", &[]),
    (143, "MLDv2MulticastListenerReportMessageV2", &[]),
];

fn icmp(messages: &[Message], kind: u8, code: u8) -> String {
    let Some((_, name, codes)) = messages.iter().find(|(number, ..)| *number == kind) else {
        return format!("{kind}({code})");
    };
    match codes.get(usize::from(code)) {
        Some(text) => format!("{name}({text})"),
        None if codes.is_empty() && code == 0 => (*name).to_owned(),
        None => format!("{name}(Code: {code})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_read_as_hubble_prints_them() {
        let tcp = |flags| l4(&L4::Tcp { source: 1, destination: 2, flags });
        assert_eq!(tcp(Some(TcpFlags(0x12))), "TCP Flags: SYN, ACK");
        assert_eq!(tcp(Some(TcpFlags(0x11))), "TCP Flags: ACK, FIN");
        assert_eq!(tcp(Some(TcpFlags(0x1ff))), "TCP Flags: SYN, ACK, RST, FIN, PSH, URG, ECE, CWR, NS");
        assert_eq!(l4(&L4::Icmp4 { kind: 8, code: 0 }), "ICMPv4 EchoRequest");
        assert_eq!(l4(&L4::Icmp4 { kind: 3, code: 4 }), "ICMPv4 DestinationUnreachable(FragmentationNeeded)");
        assert_eq!(l4(&L4::Icmp4 { kind: 3, code: 99 }), "ICMPv4 DestinationUnreachable(Code: 99)");
        assert_eq!(l4(&L4::Icmp4 { kind: 8, code: 7 }), "ICMPv4 EchoRequest(Code: 7)");
        assert_eq!(l4(&L4::Icmp4 { kind: 200, code: 7 }), "ICMPv4 200(7)");
        assert_eq!(l4(&L4::Icmp6 { kind: 135, code: 0 }), "ICMPv6 NeighborSolicitation");
    }

    #[test]
    fn messages_read_as_hubble_prints_them() {
        let http = |code| L7Record::Http {
            code,
            method: "GET".into(),
            url: "http://h/p".into(),
            protocol: "HTTP/1.1".into(),
            headers: vec![],
        };
        let line = |kind, latency, record| l7(&L7 { kind, latency, record });
        assert_eq!(line(L7Kind::Request, 0, http(0)), "HTTP/1.1 GET http://h/p");
        assert_eq!(line(L7Kind::Response, 3_100_000, http(200)), "HTTP/1.1 200 3ms (GET http://h/p)");
        let dns = |ips: &[&str], rcode| L7Record::Dns {
            query: "a.b.".into(),
            ips: ips.iter().map(|s| (*s).into()).collect(),
            ttl: 30,
            cnames: vec![],
            observed_by: "proxy".into(),
            rcode,
            qtypes: vec!["A".into()],
            rrtypes: vec![],
        };
        assert_eq!(line(L7Kind::Request, 0, dns(&[], 0)), "DNS Query a.b. A");
        assert_eq!(
            line(L7Kind::Response, 0, dns(&["10.0.0.1"], 0)),
            "DNS Answer \"10.0.0.1\" TTL: 30 (Proxy a.b. A)"
        );
        assert_eq!(
            line(L7Kind::Response, 0, dns(&[], 3)),
            "DNS Answer RCode: Non-Existent Domain (Proxy a.b. A)"
        );
    }
}
