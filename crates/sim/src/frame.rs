//! Small frames for tests and for `policy trace`.

use std::net::IpAddr;

/// What a frame is made of.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Link address of the sender.
    pub source_mac: [u8; 6],
    /// Link address of the receiver.
    pub destination_mac: [u8; 6],
    /// Source address.
    pub source: IpAddr,
    /// Destination address, of the same family.
    pub destination: IpAddr,
    /// IP protocol number: 6, 17, 1 or 58.
    pub protocol: u8,
    /// Source port; identifier of an echo request.
    pub source_port: u16,
    /// Destination port; identifier of an echo reply.
    pub destination_port: u16,
    /// TCP flags, or the ICMP type.
    pub flags: u8,
    /// Hop limit.
    pub hops: u8,
}

/// A frame with correct header checksum and no payload. Mixed address families give an empty frame.
pub fn build(spec: &Spec) -> Vec<u8> {
    let mut frame = Vec::with_capacity(74);
    frame.extend(spec.destination_mac);
    frame.extend(spec.source_mac);
    let payload = transport(spec);
    match (spec.source, spec.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            frame.extend([0x08, 0x00]);
            let length = (20 + payload.len()) as u16;
            let mut header = vec![
                0x45,
                0,
                (length >> 8) as u8,
                length as u8,
                0,
                0,
                0x40,
                0,
                spec.hops,
                spec.protocol,
                0,
                0,
            ];
            header.extend(source.octets());
            header.extend(destination.octets());
            let sum = checksum(&header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            frame.extend(header);
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend((payload.len() as u16).to_be_bytes());
            frame.extend([spec.protocol, spec.hops]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
        }
        _ => return Vec::new(),
    }
    frame.extend(payload);
    frame
}

fn transport(spec: &Spec) -> Vec<u8> {
    let ports = [spec.source_port.to_be_bytes(), spec.destination_port.to_be_bytes()].concat();
    match spec.protocol {
        6 => [ports.as_slice(), &[0; 8], &[0x50, spec.flags, 0xff, 0xff, 0, 0, 0, 0]].concat(),
        17 => [ports.as_slice(), &[0, 8, 0, 0]].concat(),
        1 | 58 => {
            let id =
                if spec.flags == 0 || spec.flags == 129 { spec.destination_port } else { spec.source_port };
            [&[spec.flags, 0, 0, 0], id.to_be_bytes().as_slice(), &[0, 1]].concat()
        }
        _ => ports,
    }
}

/// Internet checksum (RFC 1071).
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
