#!/bin/bash
# Builds what is shipped: the kernel programs, and the static release binaries that go into images.
#   tools/binaries.sh         everything
#   tools/binaries.sh probe   only the lab and its test tool
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

# glibc linked in, so that a binary runs in any image, and in any pod's file system.
static_build() {
  CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C target-feature=+crt-static" \
    nice cargo build --release --locked --target $TARGET "$@"
}

lab_tool() { cargo build --locked -p lab --bin lab; }
probe_tool() { static_build -p lab --bin probe; }
kernel_object() { cargo xtask bpf; }
# Where the page cannot be made (no npm, no registry), hubble-ui is built all the same, and says so to whoever opens it.
ui_page() { tools/ui.sh || echo "hubble-ui is built without its page"; }
# Together, so that what they share is built once.
shipped() {
  [ -f target/ui/index.html ] && export AXONEME_UI=$ROOT/target/ui
  static_build -p lab -p cilium-agent -p cilium-operator -p axoneme-cni -p cilium-dbg -p hubble -p hubble-relay -p hubble-ui -p cilium \
    --bin probe --bin cilium-agent --bin cilium-operator --bin cilium-cni --bin cilium-dbg --bin hubble \
    --bin hubble-relay --bin hubble-ui --bin cilium
}

step "lab" lab_tool
if [ "${1:-all}" = probe ]; then
  step "probe" probe_tool
else
  step "kernel programs" kernel_object
  step "the page of hubble-ui" ui_page
  step "agent, operator, plugin, tools" shipped
fi
run_steps
