//! nf_tables over nfnetlink (`linux/netfilter/nf_tables.h`; numbers in messages are in network order).

use std::collections::{BTreeMap, BTreeSet};

use rustix::net::SocketFlags;

use super::{NfBackend, NfJump, NfTable, Untracked, untracked};
use crate::error::NetlinkError;
use crate::link::optional;
use crate::socket::{Netlink, open_socket};
use crate::wire::{Attributes, Message, Received, text};

/// Number of nf_tables among the users of nfnetlink.
const SUBSYSTEM: u16 = 10;
/// Length of `struct nfgenmsg`.
const NFGENMSG: usize = 4;
/// Changes in one message to the kernel: it must fit the socket's buffer.
const PIECE: usize = 512;

/// Our table that keeps the connection table at work, and its one chain.
const HOLD: &str = "cilium_takeover";
const HOLD_CHAIN: &str = "postrouting";

pub(super) const NEWTABLE: u16 = 0;
const GETTABLE: u16 = 1;
const DELTABLE: u16 = 2;
pub(super) const NEWCHAIN: u16 = 3;
const GETCHAIN: u16 = 4;
const DELCHAIN: u16 = 5;
pub(super) const NEWRULE: u16 = 6;
const GETRULE: u16 = 7;
const DELRULE: u16 = 8;

pub(super) const TABLE_NAME: u16 = 1;
pub(super) const CHAIN_TABLE: u16 = 1;
pub(super) const CHAIN_NAME: u16 = 3;
pub(super) const CHAIN_HOOK: u16 = 4;
pub(super) const CHAIN_POLICY: u16 = 5;
pub(super) const CHAIN_TYPE: u16 = 7;
pub(super) const HOOK_NUMBER: u16 = 1;
pub(super) const HOOK_PRIORITY: u16 = 2;
/// `NF_INET_POST_ROUTING`, `NF_IP_PRI_NAT_SRC`, `NF_ACCEPT`.
const POSTROUTING: u32 = 4;
const AFTER_ROUTING: u32 = 100;
pub(super) const ACCEPT: u32 = 1;
pub(super) const RULE_TABLE: u16 = 1;
pub(super) const RULE_CHAIN: u16 = 2;
const RULE_HANDLE: u16 = 3;
pub(super) const RULE_EXPRESSIONS: u16 = 4;
pub(super) const EXPRESSION_NAME: u16 = 1;
pub(super) const EXPRESSION_DATA: u16 = 2;
/// Of the expression `immediate`, which verdicts are made of.
const IMMEDIATE_DATA: u16 = 2;
const DATA_VERDICT: u16 = 2;
const VERDICT_CHAIN: u16 = 2;
pub(super) const LIST_ELEMENT: u16 = 1;
/// Of the expression `ct`: where its value goes, and which value; `NFT_REG_1`, `NFT_CT_STATE`.
const CT_REGISTER: u16 = 1;
const CT_KEY: u16 = 2;
pub(super) const FIRST_REGISTER: u32 = 1;
const CT_STATE: u32 = 0;

/// A rule that leads to another chain.
struct Rule {
    chain: String,
    handle: Vec<u8>,
    targets: Vec<String>,
}

/// A connection to nf_tables.
pub(super) struct Nftables {
    netlink: Netlink,
}

impl Nftables {
    /// `None` if the kernel does not have it.
    pub(super) fn open() -> Result<Option<Self>, NetlinkError> {
        match open_socket(SocketFlags::CLOEXEC, Some(rustix::net::netlink::NETFILTER)) {
            Ok(socket) => Ok(Some(Self { netlink: Netlink::over(socket) })),
            Err(error) if error.errno() == Some(libc::EPROTONOSUPPORT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn tables(&mut self) -> Result<Vec<NfTable>, NetlinkError> {
        let mut tables = Vec::new();
        for v6 in [false, true] {
            let request = message(GETTABLE, libc::NLM_F_DUMP, v6);
            let names = self.netlink.list(
                request,
                || "list the tables of nf_tables".to_owned(),
                |received| is(&received, NEWTABLE, v6).then(|| word(&received, TABLE_NAME)).flatten(),
            );
            match names {
                Ok(names) => tables.extend(names.into_iter().map(|name| NfTable {
                    backend: NfBackend::Nftables,
                    v6,
                    name,
                })),
                // Without the module there are no tables.
                Err(error) if matches!(error.errno(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(tables)
    }

    pub(super) fn chains(&mut self, table: &NfTable) -> Result<BTreeSet<String>, NetlinkError> {
        Ok(self.all_chains(table)?.into_keys().collect())
    }

    /// Chains, and whether packets come to them from a hook.
    fn all_chains(&mut self, table: &NfTable) -> Result<BTreeMap<String, bool>, NetlinkError> {
        let request = message(GETCHAIN, libc::NLM_F_DUMP, table.v6);
        let chains = self.netlink.list(
            request,
            || format!("list the chains of the table {}", table.name),
            |received| {
                let ours = is(&received, NEWCHAIN, table.v6)
                    && word(&received, CHAIN_TABLE).as_deref() == Some(&table.name);
                let hooked = find(Attributes::after(received.payload, NFGENMSG), CHAIN_HOOK).is_some();
                ours.then(|| Some((word(&received, CHAIN_NAME)?, hooked))).flatten()
            },
        );
        Ok(chains?.into_iter().collect())
    }

    pub(super) fn jumps(&mut self, table: &NfTable) -> Result<BTreeSet<NfJump>, NetlinkError> {
        let jumps = |rule: Rule| {
            let Rule { chain, targets, .. } = rule;
            targets.into_iter().map(move |to| NfJump { from: chain.clone(), to })
        };
        Ok(self.rules(table)?.into_iter().flat_map(jumps).collect())
    }

    fn rules(&mut self, table: &NfTable) -> Result<Vec<Rule>, NetlinkError> {
        let mut request = message(GETRULE, libc::NLM_F_DUMP, table.v6);
        request.put_text(RULE_TABLE, &table.name);
        self.netlink.list(
            request,
            || format!("list the rules of the table {}", table.name),
            |received| {
                let ours = is(&received, NEWRULE, table.v6)
                    && word(&received, RULE_TABLE).as_deref() == Some(&table.name);
                ours.then(|| rule(&received)).flatten()
            },
        )
    }

    pub(super) fn remove_chains(
        &mut self,
        table: &NfTable,
        chains: &BTreeSet<String>,
    ) -> Result<(), NetlinkError> {
        let present = self.all_chains(table)?;
        let chains: Vec<&String> =
            chains.iter().filter(|chain| present.get(*chain) == Some(&false)).collect();
        let leading = self.rules(table)?.into_iter().filter(|rule| {
            let gone = |name: &String| chains.binary_search(&name).is_ok();
            !gone(&rule.chain) && rule.targets.iter().any(gone)
        });
        let leading: Vec<Message> = leading
            .map(|rule| {
                let mut message = of_rule(table, &rule.chain);
                message.put(RULE_HANDLE, &rule.handle);
                message
            })
            .collect();
        // All chains are empty before the first goes: they lead to each other.
        let rules = chains.iter().map(|chain| of_rule(table, chain));
        let emptied = chains.iter().map(|chain| {
            let mut message = message(DELCHAIN, 0, table.v6);
            message.put_text(CHAIN_TABLE, &table.name);
            message.put_text(CHAIN_NAME, chain);
            message
        });
        for changes in [leading, rules.collect(), emptied.collect()] {
            for piece in changes.chunks(PIECE) {
                self.change(piece, || format!("remove chains of the table {}", table.name))?;
            }
        }
        Ok(())
    }

    pub(super) fn remove_table(&mut self, table: &NfTable) -> Result<bool, NetlinkError> {
        let mut request = message(DELTABLE, 0, table.v6);
        request.put_text(TABLE_NAME, &table.name);
        let done = self.change(&[request], || format!("remove the table {}", table.name));
        optional(done).map(|done| done.is_some())
    }

    /// Makes a chain of NAT with one rule that asks for a connection's state and does nothing.
    pub(super) fn hold(&mut self, v6: bool) -> Result<(), NetlinkError> {
        if self.tables()?.iter().any(|table| table.v6 == v6 && table.name == HOLD) {
            return Ok(());
        }
        let mut table = message(NEWTABLE, libc::NLM_F_CREATE, v6);
        table.put_text(TABLE_NAME, HOLD);
        let mut chain = message(NEWCHAIN, libc::NLM_F_CREATE, v6);
        chain.put_text(CHAIN_TABLE, HOLD);
        chain.put_text(CHAIN_NAME, HOLD_CHAIN);
        chain.nest(CHAIN_HOOK, |hook| {
            hook.put(HOOK_NUMBER, &POSTROUTING.to_be_bytes());
            hook.put(HOOK_PRIORITY, &AFTER_ROUTING.to_be_bytes());
        });
        chain.put(CHAIN_POLICY, &ACCEPT.to_be_bytes());
        chain.put_text(CHAIN_TYPE, "nat");
        let mut rule = message(NEWRULE, libc::NLM_F_CREATE | libc::NLM_F_APPEND, v6);
        rule.put_text(RULE_TABLE, HOLD);
        rule.put_text(RULE_CHAIN, HOLD_CHAIN);
        rule.nest(RULE_EXPRESSIONS, |list| {
            list.nest(LIST_ELEMENT, |expression| {
                expression.put_text(EXPRESSION_NAME, "ct");
                expression.nest(EXPRESSION_DATA, |data| {
                    data.put(CT_REGISTER, &FIRST_REGISTER.to_be_bytes());
                    data.put(CT_KEY, &CT_STATE.to_be_bytes());
                });
            });
        });
        self.change(&[table, chain, rule], || "make a table that keeps connections".to_owned())
    }

    /// Removes that table; says whether it was there.
    pub(super) fn release(&mut self, v6: bool) -> Result<bool, NetlinkError> {
        self.remove_table(&NfTable { backend: NfBackend::Nftables, v6, name: HOLD.to_owned() })
    }

    /// Puts the table that keeps packets out of connection tracking in place of the one that is there.
    pub(super) fn leave_untracked(&mut self, wanted: &Untracked, v6: bool) -> Result<(), NetlinkError> {
        let old = NfTable { backend: NfBackend::Nftables, v6, name: untracked::TABLE.to_owned() };
        let concerned = wanted.addresses.iter().any(|(address, ..)| address.is_ipv6() == v6);
        if !concerned && wanted.ports.is_empty() {
            // Not asked for by removing: without the module even that is refused.
            return if self.leaves_untracked(v6)? { self.remove_table(&old).map(drop) } else { Ok(()) };
        }
        // Made before it is removed, so that there is one to remove; both happen together with what follows.
        let mut make = message(NEWTABLE, libc::NLM_F_CREATE, v6);
        make.put_text(TABLE_NAME, untracked::TABLE);
        let mut remove = message(DELTABLE, 0, v6);
        remove.put_text(TABLE_NAME, untracked::TABLE);
        let changes: Vec<Message> = [make, remove].into_iter().chain(untracked::table(wanted, v6)).collect();
        for piece in changes.chunks(PIECE) {
            self.change(piece, || "replace the table of what is not tracked".to_owned())?;
        }
        Ok(())
    }

    /// Whether that table is there.
    pub(super) fn leaves_untracked(&mut self, v6: bool) -> Result<bool, NetlinkError> {
        Ok(self.tables()?.iter().any(|table| table.v6 == v6 && table.name == untracked::TABLE))
    }

    /// Changes that happen together or not at all.
    fn change(&mut self, changes: &[Message], what: impl Fn() -> String) -> Result<(), NetlinkError> {
        // NFNL_MSG_BATCH_BEGIN and _END name the user that they are for.
        let frame = |kind: i32| {
            let mut family = vec![0, 0];
            family.extend(SUBSYSTEM.to_be_bytes());
            Message::new(kind as u16, 0, &family)
        };
        let (begin, end) = (frame(libc::NLMSG_MIN_TYPE), frame(libc::NLMSG_MIN_TYPE + 1));
        self.netlink.transaction(begin, changes, end, what)
    }
}

/// Deletes all rules of a chain, or one if its handle is added.
fn of_rule(table: &NfTable, chain: &str) -> Message {
    let mut message = message(DELRULE, 0, table.v6);
    message.put_text(RULE_TABLE, &table.name);
    message.put_text(RULE_CHAIN, chain);
    message
}

pub(super) fn message(kind: u16, flags: i32, v6: bool) -> Message {
    Message::new(SUBSYSTEM << 8 | kind, flags, &[family(v6), 0, 0, 0])
}

/// NFPROTO_IPV4 and NFPROTO_IPV6, which are the numbers of the address families.
fn family(v6: bool) -> u8 {
    if v6 { libc::AF_INET6 as u8 } else { libc::AF_INET as u8 }
}

fn is(received: &Received<'_>, kind: u16, v6: bool) -> bool {
    received.kind == SUBSYSTEM << 8 | kind && received.payload.first() == Some(&family(v6))
}

fn word(received: &Received<'_>, kind: u16) -> Option<String> {
    find(Attributes::after(received.payload, NFGENMSG), kind).map(text)
}

fn find<'a>(mut attributes: Attributes<'a>, kind: u16) -> Option<&'a [u8]> {
    attributes.find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// A rule, if it leads to another chain.
fn rule(received: &Received<'_>) -> Option<Rule> {
    let within = || Attributes::after(received.payload, NFGENMSG);
    let expressions = Attributes(find(within(), RULE_EXPRESSIONS)?);
    let target = |expression: &[u8]| {
        find(Attributes(expression), EXPRESSION_NAME).filter(|name| text(name) == "immediate")?;
        let data = find(Attributes(expression), EXPRESSION_DATA)?;
        let value = find(Attributes(data), IMMEDIATE_DATA)?;
        let verdict = find(Attributes(value), DATA_VERDICT)?;
        find(Attributes(verdict), VERDICT_CHAIN).map(text)
    };
    let targets: Vec<String> = expressions.filter_map(|(_, expression)| target(expression)).collect();
    let rule = Rule {
        chain: text(find(within(), RULE_CHAIN)?),
        handle: find(within(), RULE_HANDLE)?.to_vec(),
        targets,
    };
    (!rule.targets.is_empty()).then_some(rule)
}
