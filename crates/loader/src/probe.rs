//! What this kernel has of what services need, each asked by loading the smallest program that uses it.

use std::{io, path::Path};

use aya_obj::generated::{bpf_attach_type, bpf_prog_type};

use crate::{preflight::Feature, sys};

/// `CGROUP2_SUPER_MAGIC` of include/uapi/linux/magic.h.
const CGROUP2: u64 = 0x6367_7270;

const EXIT: u64 = 0x95;
const fn move_to_r0(value: u64) -> u64 {
    0xb7 | value << 32
}
const fn move_to_r1(value: u64) -> u64 {
    0x1b7 | value << 32
}
const fn call(helper: u64) -> u64 {
    0x85 | helper << 32
}
/// `bpf_get_netns_cookie` (5.7).
const NETNS_COOKIE: u64 = 122;
/// `bpf_set_retval` (5.18).
const SET_RETVAL: u64 = 187;
/// Such a program lets a call go on.
const GO_ON: u64 = 1;
const XDP_PASS: u64 = 2;

/// What services need of the kernel, and want.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSupport {
    /// A cgroup v2 hierarchy where it was looked for.
    pub cgroup: Feature,
    /// Programs on sockets.
    pub sockets: Feature,
    /// They learn in which network namespace a socket is.
    pub namespaces: Feature,
    /// They say with which error a call fails.
    pub errors: Feature,
    /// Sockets tell the name of their peer as they know it.
    pub peer_names: Feature,
    /// Programs that see packets first.
    pub xdp: Feature,
}

impl ServiceSupport {
    /// Asks for everything; changes nothing.
    pub fn probe(cgroup: &Path) -> Self {
        use bpf_attach_type::{BPF_CGROUP_INET4_CONNECT, BPF_CGROUP_INET4_GETPEERNAME, BPF_XDP};
        use bpf_prog_type::{BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_PROG_TYPE_XDP};
        let on_sockets = |hook, instructions: &[u64]| {
            sys::load_program(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, hook, instructions)
        };
        let end = [move_to_r0(GO_ON), EXIT];
        let with = |instructions: &[u64]| [instructions, &end].concat();
        let feature = |name, problem| Feature { name, required: false, problem };
        let probed = |name, result: io::Result<_>, cure: &str| {
            feature(name, result.err().map(|error| format!("{error}: {cure}")))
        };
        ServiceSupport {
            cgroup: feature("cgroup v2 hierarchy", hierarchy(cgroup).err()),
            sockets: probed(
                "socket programs",
                on_sockets(BPF_CGROUP_INET4_CONNECT, &end),
                "use a kernel with CONFIG_CGROUP_BPF",
            ),
            namespaces: probed(
                "netns cookies",
                on_sockets(BPF_CGROUP_INET4_CONNECT, &with(&[call(NETNS_COOKIE)])),
                "use Linux 5.7 or newer",
            ),
            errors: probed(
                "bpf_set_retval",
                on_sockets(BPF_CGROUP_INET4_CONNECT, &with(&[move_to_r1(0), call(SET_RETVAL)])),
                "without it whoever is refused sees EPERM; use Linux 5.18 or newer",
            ),
            peer_names: probed(
                "getpeername",
                on_sockets(BPF_CGROUP_INET4_GETPEERNAME, &end),
                "use Linux 5.8 or newer",
            ),
            xdp: probed(
                "XDP",
                sys::load_program(BPF_PROG_TYPE_XDP, BPF_XDP, &[move_to_r0(XDP_PASS), EXIT]),
                "use a kernel with CONFIG_BPF_SYSCALL and CONFIG_NET",
            ),
        }
    }

    /// All of it.
    pub fn all(&self) -> [&Feature; 6] {
        let Self { cgroup, sockets, namespaces, errors, peer_names, xdp } = self;
        [cgroup, sockets, namespaces, errors, peer_names, xdp]
    }
}

fn hierarchy(path: &Path) -> Result<(), String> {
    let found = rustix::fs::statfs(path).map_err(|error| format!("{}: {error}", path.display()))?;
    if found.f_type as u64 & 0xffff_ffff == CGROUP2 {
        Ok(())
    } else {
        Err(format!("{} is none", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_no_hierarchy() {
        assert_eq!(hierarchy(Path::new("/")).expect_err("none"), "/ is none");
        let text = hierarchy(Path::new("/no/such/place")).expect_err("none");
        assert!(text.starts_with("/no/such/place: No such file"), "{text}");
    }
}
