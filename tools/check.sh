#!/bin/bash
# All that can be said about the source without running it.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
cd "$ROOT"
"$ROOT/tools/setup.sh" check

formatted() { cargo fmt --all --check; }
clippy() { cargo clippy --locked --workspace --all-targets -- -D warnings; }
docs() { RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items; }
tidy() { cargo xtask tidy; }
deny() { cargo deny --all-features check; }

step "cargo fmt" formatted
step "cargo clippy, warnings are errors" clippy
step "cargo doc" docs
step "cargo xtask tidy: layers, sizes, who may import what" tidy
step "cargo deny: licences, advisories, sources" deny
run_steps
