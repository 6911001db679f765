//! The entries of a table, and how they lead to each other: by offsets, so that what goes moves the rest.

use std::collections::{BTreeMap, BTreeSet};

/// Hooks that a table may have.
pub(super) const HOOKS: usize = 5;
/// Their chains.
const NAMES: [&str; HOOKS] = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];
/// What a rule counted: packets and bytes.
pub(super) type Counters = [u8; 16];

/// Where the verdict of a standard target, or the name in an error target, begins: behind `struct xt_entry_target`.
const TARGET: usize = 32;

/// The entries, as the kernel has them.
#[derive(Clone, Debug)]
pub(super) struct Block {
    v6: bool,
    /// Bits of hooks that the table has.
    pub(super) valid: u32,
    /// Where the chain of each hook begins.
    pub(super) entry: [u32; HOOKS],
    /// Where the policy of each hook stands.
    pub(super) underflow: [u32; HOOKS],
    /// Number of entries.
    pub(super) count: u32,
    pub(super) bytes: Vec<u8>,
    chains: Vec<Chain>,
}

/// A chain.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    pub(super) name: String,
    /// Whether packets come to it from a hook.
    hooked: bool,
    rules: Vec<Rule>,
}

/// An entry of a chain; the head that carries a chain's name is one, too.
#[derive(Clone, Debug)]
struct Rule {
    offset: usize,
    length: usize,
    target: Target,
}

#[derive(Clone, Debug)]
enum Target {
    /// The head of a chain.
    Head(String),
    /// To the entry at an offset: a chain's first, or, without any target, the next.
    To(usize),
    /// Something else.
    Other,
}

impl Block {
    /// Reads the entries; `None` if they make no sense.
    pub(super) fn parse(
        v6: bool,
        valid: u32,
        entry: [u32; HOOKS],
        underflow: [u32; HOOKS],
        count: u32,
        bytes: Vec<u8>,
    ) -> Option<Self> {
        let mut block = Block { v6, valid, entry, underflow, count, bytes, chains: Vec::new() };
        let mut offset = 0;
        let mut seen = 0;
        while offset < block.bytes.len() {
            let rule = block.rule(offset)?;
            offset += rule.length;
            seen += 1;
            let hook = (0..HOOKS).find(|&hook| valid & 1 << hook != 0 && entry[hook] as usize == rule.offset);
            let chain = |name: &str, hooked| Chain { name: name.to_owned(), hooked, rules: Vec::new() };
            match (hook, &rule.target) {
                (Some(hook), _) => block.chains.push(chain(NAMES[hook], true)),
                (None, Target::Head(name)) => block.chains.push(chain(name, false)),
                _ => {}
            }
            block.chains.last_mut()?.rules.push(rule);
        }
        (seen == count).then_some(block)
    }

    /// The chains; the last entry, which only ends the table, counts as one without a name that leads anywhere.
    pub(super) fn chains(&self) -> impl Iterator<Item = &Chain> {
        self.chains.iter().filter(|chain| chain.name != "ERROR")
    }

    /// Which chain leads to which.
    pub(super) fn jumps(&self) -> Vec<(&str, &str)> {
        let starts = self.starts();
        let to = |rule: &Rule| match rule.target {
            Target::To(offset) => starts.get(&offset).map(|chain| self.chains[*chain].name.as_str()),
            _ => None,
        };
        let of = |chain: &'_ Chain| chain.rules.iter().filter_map(to).collect::<Vec<_>>();
        let pairs = self.chains.iter().map(|chain| (chain.name.as_str(), of(chain)));
        pairs.flat_map(|(from, all)| all.into_iter().map(move |to| (from, to))).collect()
    }

    /// The same without some chains and without the rules that lead to them, and what each entry that is left has
    /// counted; `None` if there is none of them.
    pub(super) fn without(&self, names: &BTreeSet<String>) -> Option<(Block, Vec<Counters>)> {
        let goes = |chain: &Chain| !chain.hooked && names.contains(&chain.name);
        if !self.chains().any(goes) {
            return None;
        }
        let starts = self.starts();
        let leads = |rule: &Rule| match rule.target {
            Target::To(offset) => starts.get(&offset).is_some_and(|chain| goes(&self.chains[*chain])),
            _ => false,
        };
        let left = self.chains.iter().filter(|chain| !goes(chain));
        let left: Vec<&Rule> =
            left.flat_map(|chain| chain.rules.iter().filter(|rule| !leads(rule))).collect();
        // Where an entry that goes was led to, the next that stays is: the last of a chain always does.
        let mut places = BTreeMap::new();
        let mut bytes = Vec::with_capacity(self.bytes.len());
        for rule in &left {
            places.insert(rule.offset, bytes.len());
            bytes.extend_from_slice(&self.bytes[rule.offset..rule.offset + rule.length]);
        }
        let place = |offset: usize| places.range(offset..).next().map(|(_, place)| *place);
        for rule in &left {
            let Target::To(offset) = rule.target else { continue };
            let at = places[&rule.offset] + self.target_offset(rule.offset)? + TARGET;
            let verdict = u32::try_from(place(offset)?).ok()?;
            bytes[at..at + 4].copy_from_slice(&verdict.to_ne_bytes());
        }
        let moved = |offsets: [u32; HOOKS]| {
            offsets.map(|offset| {
                place(offset as usize).and_then(|place| u32::try_from(place).ok()).unwrap_or(offset)
            })
        };
        let counters = left.iter().filter_map(|rule| {
            let at = rule.offset + self.counters_at();
            self.bytes.get(at..at + 16)?.try_into().ok()
        });
        let count = u32::try_from(left.len()).ok()?;
        let (entry, underflow) = (moved(self.entry), moved(self.underflow));
        let block = Block::parse(self.v6, self.valid, entry, underflow, count, bytes)?;
        Some((block, counters.collect()))
    }

    /// Chains by the offset of their first rule.
    fn starts(&self) -> BTreeMap<usize, usize> {
        let named = self.chains.iter().enumerate().filter(|(_, chain)| !chain.hooked);
        named.filter_map(|(at, chain)| Some((chain.rules.get(1)?.offset, at))).collect()
    }

    /// `target_offset` lies behind the selector (`struct ipt_ip`, `struct ip6t_ip6`) and `nfcache`.
    fn offsets_at(&self) -> usize {
        if self.v6 { 140 } else { 88 }
    }

    /// The counters end the entry's own struct.
    fn counters_at(&self) -> usize {
        if self.v6 { 152 } else { 96 }
    }

    fn u16(&self, at: usize) -> Option<usize> {
        let bytes = self.bytes.get(at..at + 2)?.try_into().ok()?;
        Some(usize::from(u16::from_ne_bytes(bytes)))
    }

    fn target_offset(&self, offset: usize) -> Option<usize> {
        self.u16(offset + self.offsets_at())
    }

    fn rule(&self, offset: usize) -> Option<Rule> {
        let length = self.u16(offset + self.offsets_at() + 2)?;
        let target_at = offset + self.target_offset(offset)?;
        if length < self.counters_at() + 16 || offset + length > self.bytes.len() {
            return None;
        }
        let target = self.bytes.get(target_at..offset + length)?;
        // `target_size` comes first, then the name.
        let name = target.get(2..TARGET - 1)?;
        let target = if name[0] == 0 {
            let verdict = i32::from_ne_bytes(target.get(TARGET..TARGET + 4)?.try_into().ok()?);
            // Negative ones are verdicts in the proper sense.
            usize::try_from(verdict).map_or(Target::Other, Target::To)
        } else if crate::wire::text(name) == "ERROR" {
            Target::Head(crate::wire::text(target.get(TARGET..)?))
        } else {
            Target::Other
        };
        Some(Rule { offset, length, target })
    }
}
