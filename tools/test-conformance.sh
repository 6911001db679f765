#!/bin/bash
# The conformance suite of the network-policy-api, ClusterNetworkPolicy profile with all features, against a lab.
#   tools/test-conformance.sh ['CNPBaselineTier.*']   all tests, or those whose names match (a Go test's -run, second level)
#   LAB_ARGS="--nodes 3"   another lab than the usual one
#   KEEP=1      leave the lab up; one that is up already is used, and left up
# The output and the suite's report are in target/conformance. The tests run in the machine `world`, outside the cluster.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
cd "$ROOT"
(($# <= 1)) || die "usage: $0 [TESTS]"
OUT=$ROOT/target/conformance
export LAB_NAME=${LAB_NAME:-conformance}
LAB=target/debug/lab

lab_up() {
  # shellcheck disable=SC2086
  $LAB up ${LAB_ARGS:---nodes 2} --set k8sClusterNetworkPolicy.enabled=true --set nodeSelectorLabels=true
}
lab_images() { $LAB image load --conformance; }

# One line for each test that ends; all else stays in the log.
progress() {
  grep --line-buffered -E '^ *--- (PASS|FAIL|SKIP)' | sed -uE 's#TestConformanceProfiles/?##; s/_/ /g'
}

# `lab exec` names the cluster in KUBECONFIG.
run_suite() {
  $LAB exec world "$TOOLS/conformance.test" -test.v -test.timeout 2h -test.run "^TestConformanceProfiles\$${1:+/$1}" \
    -conformance-profiles ClusterNetworkPolicy -all-features -organization Axoneme -project Axoneme -url localhost \
    -version "$(git describe --always --dirty)" -contact localhost -additional-info "tools/test-conformance.sh" \
    -report-output "$OUT/report.yaml" < /dev/null 2>&1 | tee "$OUT/conformance.log" | progress
}

# results KIND: names of the innermost tests with this result: a group counts only if it never came to its tests.
results() {
  sed -nE 's/^( *)--- (PASS|FAIL|SKIP): TestConformanceProfiles\/(.*) \([0-9.]+s\)$/\2 \3/p' "$OUT/conformance.log" |
    awk -v kind="$1" '{ result[$2] = $1; if (split($2, part, "/") > 1) parent[part[1]] = 1 }
      END { for (name in result) if (result[name] == kind && !(name in parent)) print name }' | LC_ALL=C sort
}

summary() {
  grep -q -- '--- .*: TestConformanceProfiles' "$OUT/conformance.log" ||
    die "the suite did not end by itself; its output is in $OUT/conformance.log"
  results FAIL | sed 's/^/FAILED  /; s/_/ /g'
  echo "network-policy-api $(cat "$TOOLS/conformance.version"), output and report: $OUT"
  echo "$(results PASS | wc -l) passed, $(results FAIL | wc -l) failed, $(results SKIP | wc -l) skipped"
  ! grep -q -- '--- FAIL' "$OUT/conformance.log" || exit 1
  [ "$(results PASS | wc -l)" != 0 ] || die "no test ran"
}

begin_suite conformance
run_steps
run_suite "${1:-}" || true # the log says what it was
summary
