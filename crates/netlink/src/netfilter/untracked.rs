//! Our table that keeps packets out of the kernel's connection tracking.

use std::net::IpAddr;

use super::Untracked;
use super::nftables::{
    ACCEPT, CHAIN_HOOK, CHAIN_NAME, CHAIN_POLICY, CHAIN_TABLE, CHAIN_TYPE, EXPRESSION_DATA, EXPRESSION_NAME,
    FIRST_REGISTER, HOOK_NUMBER, HOOK_PRIORITY, LIST_ELEMENT, NEWCHAIN, NEWRULE, NEWTABLE, RULE_CHAIN,
    RULE_EXPRESSIONS, RULE_TABLE, TABLE_NAME, message,
};
use crate::wire::Message;

/// The table.
pub(super) const TABLE: &str = "cilium_untracked";
/// Its chains, each by the name of its hook, with `NF_INET_PRE_ROUTING` and `NF_INET_LOCAL_OUT`.
const CHAINS: [(&str, u32); 2] = [("prerouting", 0), ("output", 3)];
/// `NF_IP_PRI_RAW`: before packets are looked up.
const BEFORE_TRACKING: i32 = -300;

/// Of the expressions `meta`, `payload` and `cmp` (`linux/netfilter/nf_tables.h`).
const META_REGISTER: u16 = 1;
const META_KEY: u16 = 2;
const META_PROTOCOL: u32 = 16;
const PAYLOAD_REGISTER: u16 = 1;
const PAYLOAD_BASE: u16 = 2;
const PAYLOAD_OFFSET: u16 = 3;
const PAYLOAD_LENGTH: u16 = 4;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const CMP_REGISTER: u16 = 1;
const CMP_OPERATION: u16 = 2;
const CMP_DATA: u16 = 3;
const EQUAL: u32 = 0;
const DATA_VALUE: u16 = 1;

/// One end of a packet: where its address and its port lie in their headers, bytes.
#[derive(Clone, Copy)]
enum End {
    Source,
    Destination,
}

impl End {
    fn address(self, v6: bool) -> u32 {
        match (self, v6) {
            (End::Source, false) => 12,
            (End::Destination, false) => 16,
            (End::Source, true) => 8,
            (End::Destination, true) => 24,
        }
    }

    fn port(self) -> u32 {
        match self {
            End::Source => 0,
            End::Destination => 2,
        }
    }
}

/// The changes that make the table of a family, which is not there.
pub(super) fn table(wanted: &Untracked, v6: bool) -> Vec<Message> {
    let mut table = message(NEWTABLE, libc::NLM_F_CREATE, v6);
    table.put_text(TABLE_NAME, TABLE);
    let mut changes = vec![table];
    for (name, hook) in CHAINS {
        let mut chain = message(NEWCHAIN, libc::NLM_F_CREATE, v6);
        chain.put_text(CHAIN_TABLE, TABLE);
        chain.put_text(CHAIN_NAME, name);
        chain.nest(CHAIN_HOOK, |nest| {
            nest.put(HOOK_NUMBER, &hook.to_be_bytes());
            nest.put(HOOK_PRIORITY, &BEFORE_TRACKING.to_be_bytes());
        });
        chain.put(CHAIN_POLICY, &ACCEPT.to_be_bytes());
        chain.put_text(CHAIN_TYPE, "filter");
        changes.push(chain);
    }
    // To a pod and back may be from outside or from this node's own processes.
    for (address, protocol, port) in wanted.addresses.iter().filter(|(address, ..)| address.is_ipv6() == v6) {
        for (chain, _) in CHAINS {
            for end in [End::Destination, End::Source] {
                changes.push(rule(v6, chain, end, Some(*address), *protocol, *port));
            }
        }
    }
    // To the node comes what others send, and back goes what it sends.
    for (protocol, port) in &wanted.ports {
        for ((chain, _), end) in CHAINS.into_iter().zip([End::Destination, End::Source]) {
            changes.push(rule(v6, chain, end, None, *protocol, *port));
        }
    }
    changes
}

fn rule(v6: bool, chain: &str, end: End, address: Option<IpAddr>, protocol: u8, port: u16) -> Message {
    let mut rule = message(NEWRULE, libc::NLM_F_CREATE | libc::NLM_F_APPEND, v6);
    rule.put_text(RULE_TABLE, TABLE);
    rule.put_text(RULE_CHAIN, chain);
    rule.nest(RULE_EXPRESSIONS, |list| {
        match address {
            Some(IpAddr::V4(address)) => field(list, NETWORK_HEADER, end.address(v6), &address.octets()),
            Some(IpAddr::V6(address)) => field(list, NETWORK_HEADER, end.address(v6), &address.octets()),
            None => {}
        }
        expression(list, "meta", |data| {
            data.put(META_REGISTER, &FIRST_REGISTER.to_be_bytes());
            data.put(META_KEY, &META_PROTOCOL.to_be_bytes());
        });
        equals(list, &[protocol]);
        field(list, TRANSPORT_HEADER, end.port(), &port.to_be_bytes());
        expression(list, "notrack", |_| {});
    });
    rule
}

/// Goes on if a field of a header is this.
fn field(list: &mut Message, base: u32, offset: u32, value: &[u8]) {
    expression(list, "payload", |data| {
        data.put(PAYLOAD_REGISTER, &FIRST_REGISTER.to_be_bytes());
        data.put(PAYLOAD_BASE, &base.to_be_bytes());
        data.put(PAYLOAD_OFFSET, &offset.to_be_bytes());
        data.put(PAYLOAD_LENGTH, &(value.len() as u32).to_be_bytes());
    });
    equals(list, value);
}

fn equals(list: &mut Message, value: &[u8]) {
    expression(list, "cmp", |data| {
        data.put(CMP_REGISTER, &FIRST_REGISTER.to_be_bytes());
        data.put(CMP_OPERATION, &EQUAL.to_be_bytes());
        data.nest(CMP_DATA, |nest| nest.put(DATA_VALUE, value));
    });
}

fn expression(list: &mut Message, name: &str, fill: impl FnOnce(&mut Message)) {
    list.nest(LIST_ELEMENT, |element| {
        element.put_text(EXPRESSION_NAME, name);
        element.nest(EXPRESSION_DATA, fill);
    });
}
