//! A thread's own namespaces with the devices and routes of the test node. They vanish with the thread.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Devices of the test node: name, interface index, addresses.
const DEVICES: &[(&str, u32, &[&str])] = &[
    ("eth0", crate::pair::ETH0, &["172.31.0.11/24", "fd00:31::11/64"]),
    ("host", crate::pair::HOST, &[]),
    ("tunnel", crate::pair::TUNNEL, &[]),
    ("lxc-a", crate::pair::POD_A, &[]),
    ("lxc-b", crate::pair::POD_B, &[]),
];
const ROUTES: &[&str] = &[
    "route add default via 172.31.0.1",
    "route add 10.244.2.0/24 via 172.31.0.12",
    "-6 route add default via fd00:31::1",
    "-6 route add fd00:10:244:2::/64 via fd00:31::12",
];

/// Neighbours of `eth0`: whom the routes name, and who is on the link.
const NEIGHBOURS: &[&str] =
    &["172.31.0.1", "172.31.0.12", "172.31.0.100", "fd00:31::1", "fd00:31::12", "fd00:31::100"];

/// The namespaces, entered by the calling thread.
#[derive(Debug)]
pub struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    /// Enters fresh namespaces. `None`, after saying so, without root; a failure if `AXONEME_REQUIRE_KERNEL` is set.
    pub fn enter() -> Result<Option<Place>> {
        if !rustix::process::geteuid().is_root() {
            ensure!(std::env::var_os("AXONEME_REQUIRE_KERNEL").is_none(), "these tests need root");
            println!("skipped: needs root");
            return Ok(None);
        }
        let flags = UnshareFlags::NEWNS | UnshareFlags::NEWNET | UnshareFlags::FS;
        // SAFETY: only namespaces are unshared, not the descriptor table that other threads rely on.
        unsafe { unshare_unsafe(flags) }.context("unsharing namespaces")?;
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
            .context("private mounts")?;
        let directory = tempfile::Builder::new().prefix("axt-bpffs-").tempdir()?;
        mount("bpf", directory.path(), "bpf", MountFlags::empty(), None).context("mounting bpffs")?;
        mount("sysfs", "/sys", "sysfs", MountFlags::empty(), None)
            .context("mounting /sys of this network")?;
        let place = Place { directory };
        place.devices()?;
        Ok(Some(place))
    }

    fn devices(&self) -> Result<()> {
        ip("link set lo up")?;
        for (name, index, addresses) in DEVICES {
            self.device(name, *index)?;
            for address in *addresses {
                ip(&format!(
                    "addr add {address} dev {name} {}",
                    if address.contains(':') { "nodad" } else { "" }
                ))?;
            }
        }
        for file in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            std::fs::write(Path::new("/proc/sys/net").join(file), "1")
                .with_context(|| format!("setting {file}"))?;
        }
        ip("link set eth0 address 02:00:00:00:01:00")?;
        for neighbour in NEIGHBOURS {
            // The simulator's rule: a neighbour's link address ends as its address does.
            let last: u8 = neighbour
                .rsplit(['.', ':'])
                .next()
                .and_then(|end| {
                    if neighbour.contains(':') { u8::from_str_radix(end, 16).ok() } else { end.parse().ok() }
                })
                .unwrap_or_default();
            ip(&format!(
                "neigh replace {neighbour} lladdr 02:00:00:00:01:{last:02x} nud permanent dev eth0"
            ))?;
        }
        ROUTES.iter().try_for_each(|route| ip(route))
    }

    /// Adds a device, and the peer at its other end.
    pub fn device(&self, name: &str, index: u32) -> Result<()> {
        ip(&format!("link add {name} index {index} type veth peer name p-{name}"))?;
        ip(&format!("link set {name} up"))?;
        ip(&format!("link set p-{name} up"))
    }

    /// Root of this place's bpffs.
    pub fn bpffs(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = unmount(self.bpffs(), UnmountFlags::DETACH);
    }
}

fn ip(arguments: &str) -> Result<()> {
    let status = Command::new("ip").args(arguments.split_whitespace()).status().context("starting ip(8)")?;
    ensure!(status.success(), "ip {arguments} failed");
    Ok(())
}

/// The kernel object that `cargo xtask bpf` builds.
pub fn object() -> Result<Vec<u8>> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../../target/bpf/axoneme.o"].iter().collect();
    std::fs::read(&path)
        .with_context(|| format!("reading {}; build it with `cargo xtask bpf`", path.display()))
}
