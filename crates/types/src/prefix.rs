//! Prefixes: IPv4 and IPv6 in one 128-bit space, and the spelling of `cidr:` labels.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::IpAddr;

/// The prefix with its host bits cleared, and an IPv4-mapped IPv6 prefix (`::ffff:0:0/96` and longer) as IPv4, so that
/// equal sets of addresses compare equal.
pub fn canonical(net: IpNet) -> IpNet {
    match net.trunc() {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => match v6.network().to_ipv4_mapped() {
            Some(v4) => Ipv4Net::new(v4, v6.prefix_len() - 96).map_or(IpNet::V6(v6), IpNet::V4),
            None => IpNet::V6(v6),
        },
        net => net,
    }
}

/// The prefix that holds `ip` alone.
pub fn host(ip: IpAddr) -> IpNet {
    canonical(IpNet::from(ip))
}

/// Prefix length in the 128-bit space that the kernel's tables use: an IPv4 /24 is 120.
pub fn len128(net: &IpNet) -> u32 {
    match net {
        IpNet::V4(v4) => u32::from(v4.prefix_len()) + 96,
        IpNet::V6(v6) => u32::from(v6.prefix_len()),
    }
}

/// Whether the prefix names one address.
pub fn is_host(net: &IpNet) -> bool {
    net.prefix_len() == net.max_prefix_len()
}

/// Whether the prefix is the whole of its family.
pub fn is_default(net: &IpNet) -> bool {
    net.prefix_len() == 0
}

/// The prefix as the key of a `cidr:` label. Colons would end the label's source, so IPv6 is written with dashes, with a
/// zero where a dash would stand first or last: `fd00::/8` is `fd00--0/8`.
pub fn label_key(net: &IpNet) -> String {
    match canonical(*net) {
        IpNet::V4(v4) => v4.to_string(),
        IpNet::V6(v6) => {
            let text = v6.network().to_string().replace(':', "-");
            let front = if text.starts_with('-') { "0" } else { "" };
            let back = if text.ends_with('-') { "0" } else { "" };
            format!("{front}{text}{back}/{}", v6.prefix_len())
        }
    }
}

/// The prefix that a `cidr:` label's key names (see [`label_key`]); a lone address stands for itself.
pub fn from_label_key(key: &str) -> Option<IpNet> {
    let text = key.replace('-', ":");
    let net = match text.split_once('/') {
        Some((ip, len)) if ip.contains(':') => {
            IpNet::V6(Ipv6Net::new(ip.parse().ok()?, len.parse().ok()?).ok()?)
        }
        Some(_) => text.parse().ok()?,
        None => IpNet::from(text.parse::<IpAddr>().ok()?),
    };
    Some(canonical(net))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn equal_sets_compare_equal() {
        assert_eq!(canonical(net("10.1.2.3/8")), net("10.0.0.0/8"));
        assert_eq!(canonical(net("::ffff:10.1.2.3/104")), net("10.0.0.0/8"));
        assert_eq!(canonical(net("fd00::1/64")), net("fd00::/64"));
        assert_eq!(len128(&net("10.0.0.0/8")), 104);
        assert_eq!(len128(&net("fd00::/8")), 8);
    }

    #[test]
    fn label_keys_hold_no_colon_and_read_back() {
        for (text, key) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("fd00::/8", "fd00--0/8"),
            ("::1/128", "0--1/128"),
            ("::/0", "0--0/0"),
            ("2001:db8::1/128", "2001-db8--1/128"),
        ] {
            assert_eq!(label_key(&net(text)), key);
            assert_eq!(from_label_key(key), Some(net(text)), "{key}");
        }
        assert_eq!(from_label_key("192.0.2.1"), Some(net("192.0.2.1/32")));
        for bad in ["", "x", "10.0.0.0/33", "fd00--0/129", "/8"] {
            assert_eq!(from_label_key(bad), None, "{bad}");
        }
    }
}
