#!/bin/bash
# Kubernetes' own end-to-end suite against a lab: the tests whose names match FOCUS but not SKIP (regular expressions).
#   tools/test-e2e.sh '\[sig-network\].*Granular Checks.*intra-pod' [SKIP]
#   LAB_ARGS="--nodes 3 --cni bridge --kube-proxy iptables"   another lab than the usual one
#   PROCS=4     so many tests side by side, at least 2 (3)
#   KEEP=1      leave the lab up; one that is up already is used, and left up
# Reports and the whole output are in target/e2e. The tests run in the machine `world`, outside the cluster.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
cd "$ROOT"
(($# == 1 || $# == 2)) || die "usage: $0 FOCUS [SKIP]"
[ -n "$1" ] || die "FOCUS is empty: that would be all 7000 tests"
FOCUS=$1 SKIP=${2:-} OUT=$ROOT/target/e2e
export LAB_NAME=${LAB_NAME:-e2e}
LAB=target/debug/lab

lab_up() {
  # shellcheck disable=SC2086
  $LAB up ${LAB_ARGS:---nodes 3 --ipv6 --set kubeProxyReplacement=true --set loadBalancer.serviceTopology=true}
}
lab_images() { $LAB image load --e2e; }

# The API server's way to pods, which a cloud's routes would be: what it proxies to pods goes there.
lab_routes() {
  local node cidr
  { $LAB kubectl get ciliumnodes -o json 2> /dev/null || echo '{"items": []}'; } |
    jq -r '.items[] | [.spec.addresses[] | select(.type == "InternalIP") | .ip] as $ips | .spec.ipam.podCIDRs[] |
      contains(":") as $six | "\($ips | map(select(contains(":") == $six))[0]) \(.)"' |
    while read -r node cidr; do $LAB exec cp ip route replace "$cidr" via "$node"; done
}

# Three zones: some tests want as many, and some (with six nodes) two nodes in each.
lab_zones() {
  local node i=0
  for node in $($LAB kubectl get nodes -o name); do
    $LAB kubectl label --overwrite "$node" "topology.kubernetes.io/zone=zone-$((i++ % 3 + 1))"
  done
}

# One line for each test that ends; all else stays in the log. The name follows the result, as always with several processes.
progress() {
  local line state=
  grep --line-buffered -E '^(Will run [0-9]|• .*seconds\]|S \[SKIPPED\]|\[sig-)' | while read -r line; do
    case $line in
      "Will run"*) echo "$line" ;;
      *FAILED* | *PANICKED* | *TIMEDOUT* | *INTERRUPTED*) state=FAILED ;;
      S*) state=skipped ;;
      •*) state=passed ;;
      *)
        [ -n "$state" ] && printf '%5d s  %-8s %.150s\n' $((SECONDS - START)) "$state" "$(sed -E 's/ \[It\]//; s/( \[[^]]*\])+$//' <<< "$line")"
        state=
        ;;
    esac
  done
}

# `lab exec` names the cluster in KUBECONFIG.
run_suite() {
  local START=$SECONDS
  $LAB exec world "$TOOLS/ginkgo" -v --no-color --procs="${PROCS:-3}" --timeout=3h --focus="$FOCUS" ${SKIP:+--skip="$SKIP"} \
    --output-dir="$OUT" --json-report=report.json "$TOOLS/e2e.test" -- --provider=skeleton --kubectl-path="$TOOLS/kubectl" \
    --report-dir="$OUT" --disable-log-dump --num-nodes="$($LAB kubectl get nodes -o name | wc -l)" < /dev/null 2>&1 | tee "$OUT/e2e.log" | progress
}

# Tests that FOCUS leaves out are "skipped" too, but without a word.
specs() { # KIND
  jq -r --arg kind "$1" 'def name: ([.ContainerHierarchyTexts[]?, .LeafNodeText] | join(" "));
    .[].SpecReports[] | (if .State == "passed" then "passed" elif .State != "skipped" and .State != "pending" then "failed"
      elif .Failure.Message then "skipped" else "" end) as $kind
    | select($kind == $ARGS.named.kind and (.LeafNodeType == "It" or $kind == "failed"))
    | "\(.LeafNodeType | if . == "It" then "" else "\(.): " end)\(name)\t\(.Failure.Message // "" | gsub("\\s+"; " ") | if length > 400 then "\(.[:200]) … \(.[-200:])" else . end)"' \
    "$OUT/report.json"
}

summary() {
  local kind
  [ -s "$OUT/report.json" ] || die "the suite gave no report; its output is in $OUT/e2e.log"
  for kind in skipped failed; do
    specs $kind | awk -F '\t' -v kind=$kind '{ printf "%s  %s\n        %s\n", toupper(kind), $1, $2 }'
  done
  echo "output and reports: $OUT"
  echo "$(specs passed | wc -l) passed, $(specs failed | wc -l) failed, $(specs skipped | wc -l) skipped"
  [ "$(specs failed | wc -l)" = 0 ] || exit 1
  [ "$(specs passed | wc -l)" != 0 ] || die "no test ran"
}

begin_suite e2e
step "the API server's routes to pods" lab_routes
step "zones" lab_zones
run_steps
run_suite || true # the report says what it was
summary
