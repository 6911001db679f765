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

use std::{collections::BTreeMap, path::Path, process::Command, sync::LazyLock};

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

    /// The object with small maps; `None`, after saying so, where it cannot be built.
    fn load(&self) -> Option<Object> {
        let loaded = self.load_with(&object()?, &small_sizes());
        Some(loaded.unwrap_or_else(|error| panic!("{error}")))
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

/// Builds the object of `tests/fixture`, once a process; `None`, after saying so, where the toolchain for it is missing.
fn object() -> Option<Vec<u8>> {
    static OBJECT: LazyLock<Option<Vec<u8>>> = LazyLock::new(build);
    if OBJECT.is_none() {
        assert!(std::env::var_os("AXONEME_REQUIRE_KERNEL").is_none(), "the BPF toolchain is missing");
        println!("skipped: the fixture cannot be built, see `make tools`");
    }
    OBJECT.clone()
}

fn build() -> Option<Vec<u8>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = here.join("../../target/loader-fixture");
    let status = Command::new("/usr/bin/cargo")
        .args(["build", "--release", "--quiet", "--target", "bpfel-unknown-none"])
        .current_dir(here.join("tests/fixture"))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTC", "/usr/bin/rustc")
        .env(
            "RUSTFLAGS",
            "-C linker=bpf-linker -C debuginfo=2 -C link-arg=--btf -C target-cpu=v3 -A warnings",
        )
        .env("CARGO_TARGET_DIR", &target)
        // Cargo sets these for us; they would choose the wrong toolchain.
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO")
        .status();
    status.ok().filter(std::process::ExitStatus::success)?;
    std::fs::read(target.join("bpfel-unknown-none/release/fixture")).ok()
}

fn config() -> NodeConfig {
    NodeConfig { nat_port_min: 32768, nat_port_max: 65535, world_v4: 77, ..Default::default() }
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

/// A new interface of this name, by its number.
fn device(name: &str) -> u32 {
    ip(&format!("link add {name} type veth peer name p-{name}"));
    ip(&format!("link set {name} up"));
    let path = format!("/proc/thread-self/net/dev_snmp6/{name}");
    let text = std::fs::read_to_string(path).expect("the interface is there");
    let number = text.lines().find_map(|line| line.strip_prefix("ifIndex")?.trim().parse().ok());
    number.expect("it has a number")
}
