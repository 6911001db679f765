//! Flows as columns: what differs from flow to flow in columns of its own, what repeats (ends, protocols, and all the
//! rest) as numbers of entries in dictionaries. Nothing of a flow is lost.

use std::collections::HashMap;

use hubble_pb::flow::{Endpoint, Flow, Ip, Layer4};
use hubble_pb::wkt::Timestamp;
use prost::Message;

/// A name of the form 8-4-4-4-12 in small hexadecimal digits, as the 16 bytes that it stands for.
const UUID: usize = 36;
const GAPS: [usize; 4] = [8, 13, 18, 23];

/// Entries, and their numbers from 1; 0 stands for nothing.
#[derive(Default)]
struct Dictionary {
    numbers: HashMap<Vec<u8>, u64>,
    entries: Vec<u8>,
}

impl Dictionary {
    fn number(&mut self, entry: Option<&impl Message>) -> u64 {
        let Some(entry) = entry else { return 0 };
        let bytes = entry.encode_to_vec();
        let next = self.numbers.len() as u64 + 1;
        if let Some(number) = self.numbers.get(&bytes) {
            return *number;
        }
        put(&mut self.entries, bytes.len() as u64);
        self.entries.extend_from_slice(&bytes);
        self.numbers.insert(bytes, next);
        next
    }
}

/// Writes flows.
pub(super) fn encode(flows: &[Flow]) -> Vec<u8> {
    let mut columns: [Vec<u8>; 7] = Default::default();
    let mut dictionaries: [Dictionary; 4] = Default::default();
    let [times, uuids, sources, destinations, ips, l4s, rests] = &mut columns;
    let [ends, addresses, transports, others] = &mut dictionaries;
    let mut last = 0_u64;
    for flow in flows {
        let mut rest = flow.clone();
        let time = rest.time.take().map_or(0, |time| time.unix_nanos());
        let step = time.wrapping_sub(last).cast_signed();
        // Small steps back are as short as small steps forth.
        put(times, (step.wrapping_shl(1) ^ (step >> 63)).cast_unsigned());
        last = time;
        match uuid_bytes(&rest.uuid) {
            Some(bytes) => {
                uuids.push(1);
                uuids.extend_from_slice(&bytes);
                rest.uuid = String::new();
            }
            None => uuids.push(0),
        }
        put(sources, ends.number(rest.source.take().as_ref()));
        put(destinations, ends.number(rest.destination.take().as_ref()));
        put(ips, addresses.number(rest.ip.take().as_ref()));
        put(l4s, transports.number(rest.l4.take().as_ref()));
        put(rests, others.number(Some(&rest)));
    }
    let mut bytes = Vec::new();
    put(&mut bytes, flows.len() as u64);
    for part in columns.iter().chain(dictionaries.iter().map(|dictionary| &dictionary.entries)) {
        put(&mut bytes, part.len() as u64);
        bytes.extend_from_slice(part);
    }
    bytes
}

/// Reads flows; `None` if these bytes are none.
pub(super) fn decode(mut bytes: &[u8]) -> Option<Vec<Flow>> {
    let count = take(&mut bytes)?;
    let mut part = || {
        let length = usize::try_from(take(&mut bytes)?).ok()?;
        let (part, rest) = bytes.split_at_checked(length)?;
        bytes = rest;
        Some(part)
    };
    let (mut times, mut uuids) = (part()?, part()?);
    let [mut sources, mut destinations, mut ips, mut l4s, mut rests] =
        [part()?, part()?, part()?, part()?, part()?];
    let ends = entries::<Endpoint>(part()?)?;
    let (addresses, transports) = (entries::<Ip>(part()?)?, entries::<Layer4>(part()?)?);
    let others = entries::<Flow>(part()?)?;
    let mut flows = Vec::new();
    let mut last = 0_u64;
    for _ in 0..count {
        let mut flow = entry(&others, &mut rests)??;
        let step = take(&mut times)?;
        let step = (step >> 1).cast_signed() ^ -(step & 1).cast_signed();
        last = last.wrapping_add(step.cast_unsigned());
        flow.time = Some(Timestamp::from_unix_nanos(last));
        let (flag, rest) = uuids.split_first()?;
        uuids = rest;
        if *flag == 1 {
            let (bytes, rest) = uuids.split_first_chunk::<16>()?;
            uuids = rest;
            flow.uuid = uuid_text(*bytes);
        }
        flow.source = entry(&ends, &mut sources)?;
        flow.destination = entry(&ends, &mut destinations)?;
        flow.ip = entry(&addresses, &mut ips)?;
        flow.l4 = entry(&transports, &mut l4s)?;
        flows.push(flow);
    }
    Some(flows)
}

fn entries<M: Message + Default>(mut bytes: &[u8]) -> Option<Vec<M>> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let length = usize::try_from(take(&mut bytes)?).ok()?;
        let (entry, rest) = bytes.split_at_checked(length)?;
        bytes = rest;
        entries.push(M::decode(entry).ok()?);
    }
    Some(entries)
}

/// The entry whose number comes next in a column: `None` if there is no such entry, `Some(None)` for nothing.
fn entry<M: Clone>(entries: &[M], column: &mut &[u8]) -> Option<Option<M>> {
    match usize::try_from(take(column)?).ok()? {
        0 => Some(None),
        number => entries.get(number - 1).cloned().map(Some),
    }
}

/// Seven bits a byte, the low ones first.
fn put(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn uuid_bytes(text: &str) -> Option<[u8; 16]> {
    let text: &[u8; UUID] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; 16];
    let mut digits = text.iter().enumerate().filter(|(at, _)| !GAPS.contains(at)).map(|(_, digit)| digit);
    for byte in &mut bytes {
        for _ in 0..2 {
            let digit = match *digits.next()? {
                digit @ b'0'..=b'9' => digit - b'0',
                digit @ b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            *byte = *byte << 4 | digit;
        }
    }
    GAPS.iter().all(|at| text.get(*at) == Some(&b'-')).then_some(bytes)
}

fn uuid_text(bytes: [u8; 16]) -> String {
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn flow(time: u64, uuid: &str, pod: &str) -> Flow {
        let end = Endpoint { pod_name: pod.into(), identity: 7, ..Endpoint::default() };
        Flow {
            time: Some(Timestamp::from_unix_nanos(time)),
            uuid: uuid.into(),
            source: Some(end),
            ip: Some(Ip { source: "10.0.0.1".into(), ..Ip::default() }),
            node_name: "default/n1".into(),
            ..Flow::default()
        }
    }

    #[test]
    fn nothing_is_lost() {
        let flows = [
            flow(1_700_000_000_000_000_000, "01234567-89ab-8def-8123-456789abcdef", "a"),
            flow(1_699_999_999_000_000_000, "no uuid", "a"),
            flow(u64::MAX / 2, "01234567-89AB-8def-8123-456789abcdef", "b"),
            Flow { time: Some(Timestamp::from_unix_nanos(0)), ..Flow::default() },
        ];
        assert_eq!(decode(&encode(&flows)).as_deref(), Some(&flows[..]));
        assert_eq!(decode(&encode(&[])), Some(Vec::new()));
    }

    #[test]
    fn what_repeats_costs_little() {
        let flows: Vec<Flow> = (0..1000_u64)
            .map(|n| flow(n * 1000, &format!("01234567-89ab-8def-8123-{n:012x}"), &format!("p{}", n % 10)))
            .collect();
        let bytes = encode(&flows).len();
        assert!(bytes < 1000 * 27, "{bytes} bytes for 1000 flows");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn no_damage_panics(changes in prop::collection::vec((0..500_usize, any::<u8>()), 0..6), end in 0..500_usize) {
            let mut bytes = encode(&[flow(5, "01234567-89ab-8def-8123-456789abcdef", "a"), flow(7, "x", "b")]);
            for (at, byte) in changes {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            bytes.truncate(end);
            let _ = decode(&bytes);
        }
    }
}
