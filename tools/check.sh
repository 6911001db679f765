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
reference() { cargo xtask docs --check; }
deny() {
    cargo deny --all-features check licenses bans sources
    # Advisories come from a repository of their own, which a machine without a way out cannot read.
    if cargo deny --all-features fetch db; then
        cargo deny --all-features check advisories
    else
        echo "advisories NOT checked: their database cannot be fetched from here"
    fi
}

step "cargo fmt" formatted
step "cargo clippy, warnings are errors" clippy
step "cargo doc" docs
step "cargo xtask tidy: layers, sizes, who may import what" tidy
step "cargo xtask docs: the reference is as the code is" reference
step "cargo deny: licences, advisories, sources" deny
run_steps
