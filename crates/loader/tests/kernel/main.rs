//! Against the kernel. Every test runs in mount and network namespaces of its own thread, which vanish with it, so nothing
//! is left behind however it ends. Without root the tests report a skip; with AXONEME_REQUIRE_KERNEL set they fail then.

// The name under which the workspace's crates know it.
extern crate axoneme_loader as loader;

mod gc;
mod links;
mod load;
mod policies;
mod run;
mod tables;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use abi::{NodeConfig, maps};
use loader::{LoadError, LoadOptions, Object};

/// A thread's own world: an empty bpffs, and a network with nothing but loopback.
struct World {
    directory: tempfile::TempDir,
}

impl World {
    /// `None`, after saying so, where the tests cannot run.
    fn new() -> Option<Self> {
        use rustix::{
            mount::{MountFlags, MountPropagationFlags, mount, mount_change},
            thread::{UnshareFlags, unshare_unsafe},
        };
        if !rustix::process::geteuid().is_root() {
            assert!(std::env::var_os("AXONEME_REQUIRE_KERNEL").is_none(), "these tests need root");
            println!("skipped: needs root");
            return None;
        }
        let flags = UnshareFlags::NEWNS | UnshareFlags::NEWNET | UnshareFlags::FS;
        // SAFETY: only namespaces are unshared, not the file descriptor table that other threads rely on.
        unsafe { unshare_unsafe(flags) }.expect("namespaces");
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).expect("private mounts");
        let directory = tempfile::Builder::new().prefix("axt-bpffs-").tempdir().expect("directory");
        mount("bpf", directory.path(), "bpf", MountFlags::empty(), None).expect("bpffs");
        Some(World { directory })
    }

    fn bpffs(&self) -> &Path {
        self.directory.path()
    }

    /// The object with small maps; `None`, after saying so, where it was not built.
    fn load(&self) -> Option<Object> {
        Some(self.load_with(&object()?, &small_sizes()).expect("load"))
    }

    fn load_with(&self, object: &[u8], sizes: &BTreeMap<String, u32>) -> Result<Object, LoadError> {
        let options = LoadOptions { bpffs: self.bpffs(), config: &config(), sizes: sizes.clone() };
        Object::load(object, &options)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.bpffs(), rustix::mount::UnmountFlags::DETACH);
    }
}

fn object() -> Option<Vec<u8>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/bpf/axoneme.o");
    let object = std::fs::read(&path).ok();
    if object.is_none() {
        assert!(std::env::var_os("AXONEME_REQUIRE_KERNEL").is_none(), "run `cargo xtask bpf` first");
        println!("skipped: {} is not built", path.display());
    }
    object
}

fn config() -> NodeConfig {
    NodeConfig { nat_port_min: 32768, nat_port_max: 65535, world_v4: 2, world_v6: 2, ..Default::default() }
}

fn small_sizes() -> BTreeMap<String, u32> {
    [maps::FLOWS, maps::HALF_OPEN, maps::NAT, maps::FRAGMENTS, maps::PODS, maps::LOCAL, maps::POLICIES]
        .into_iter()
        .map(|name| (name.to_owned(), 1024))
        .collect()
}

/// Runs ip(8) in this thread's network.
fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("ip(8) is there");
    assert!(status.success(), "ip {arguments}");
}

/// The interface's number.
fn ifindex(name: &str) -> u32 {
    let text = std::fs::read_to_string("/proc/thread-self/net/dev_mcast").ok();
    let path = format!("/proc/thread-self/net/dev_snmp6/{name}");
    let snmp = std::fs::read_to_string(path).ok().and_then(|text| {
        text.lines().find_map(|line| line.strip_prefix("ifIndex")?.trim().parse().ok())
    });
    snmp.unwrap_or_else(|| panic!("interface {name} has no number: {text:?}"))
}
