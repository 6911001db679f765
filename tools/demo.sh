#!/bin/bash
# The main job, shown: a real cluster, our chart, pods on two nodes, policies, flows; in both routing modes.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
cd "$ROOT"
demo_tool() { cargo build --locked -p axoneme-cluster-tests; }
step "demo" demo_tool
run_steps
target/debug/cluster demo
