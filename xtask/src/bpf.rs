//! Builds the kernel programs with Debian's toolchain, which carries `core` for the BPF target.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// `-C link-arg=--btf`: inner maps need type information. `v3`: 32-bit arithmetic and jumps, fine from kernel 5.1 on.
const RUSTFLAGS: &str = "-C linker=bpf-linker -C debuginfo=2 -C link-arg=--btf -C link-arg=--disable-expand-memcpy-in-order -C target-cpu=v3";
const OBJECT: &str = "bpf/target/bpfel-unknown-none/release/axoneme";

/// Root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

/// Builds `target/bpf/axoneme.o`.
pub(crate) fn build() -> Result<()> {
    let root = root();
    // By path, so that it is the same with and without rustup.
    let status = Command::new("/usr/bin/cargo")
        .args(["build", "--release", "--quiet", "--target", "bpfel-unknown-none"])
        .current_dir(root.join("bpf"))
        // The kernel library wants one unstable feature (inline assembly for BPF).
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", RUSTFLAGS)
        .env("RUSTC", "/usr/bin/rustc")
        // Cargo sets these for us; they would choose the wrong toolchain.
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO")
        .env_remove("CARGO_TARGET_DIR")
        .status()
        .context("starting /usr/bin/cargo for the kernel programs (Debian package cargo-web)")?;
    if !status.success() {
        bail!("building the kernel programs failed; `make tools` installs the BPF toolchain they need");
    }
    let out = root.join("target/bpf");
    std::fs::create_dir_all(&out).with_context(|| format!("creating {}", out.display()))?;
    let object = out.join("axoneme.o");
    std::fs::copy(root.join(OBJECT), &object).with_context(|| format!("copying to {}", object.display()))?;
    println!("built {}", object.display());
    Ok(())
}
