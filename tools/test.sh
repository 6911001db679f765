#!/bin/bash
# The test layers, in order of their cost; `tools/test.sh pure sim` runs only those named.
# Each layer is a function here; it may end with any exit code, its output is in target/logs/test-LAYER.log, and its
# counts are read from the closing lines of cargo test ("test result: ...") or from lines "N passed, N failed".
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

# `tools/test.sh ui` tests the page, on demand: it needs npm and a browser.
LAYERS=(pure sim kernel chart lab cluster)

# Packages whose tests load programs or make namespaces; run one after the other, as root.
KERNEL=(axoneme-loader axoneme-netlink axoneme-kernel-tests)

pure() {
  local without=(--exclude axoneme-sim) p
  for p in "${KERNEL[@]}"; do without+=(--exclude "$p"); done
  AXONEME_TOOLS=required cargo test --locked --workspace "${without[@]}"
}
sim() { cargo test --locked -p axoneme-sim; }
kernel() { AXONEME_REQUIRE_KERNEL=1 cargo test --locked $(printf -- '-p %s ' "${KERNEL[@]}") -- --test-threads=1; }
chart() { charts/test.sh; }
ui() { tools/ui.sh test; }
lab() { tools/test-lab.sh; }
cluster() { cargo build --locked -p axoneme-cluster-tests && target/debug/cluster test; }

PASSED=0 FAILED=0 BROKEN=() WHY=()

run_layer() {
  local layer=$1 log=$LOGS/test-$1.log start=$SECONDS last=$SECONDS status=0 passed failed pid
  "$layer" > "$log" 2>&1 < /dev/null &
  pid=$!
  while kill -0 "$pid" 2> /dev/null; do
    sleep 0.2
    if ((SECONDS - last >= 30)); then
      last=$SECONDS
      printf '%-8s ... %4d s: %.90s\n' "$layer" $((SECONDS - start)) "$(tail -n 1 "$log")"
    fi
  done
  wait "$pid" || status=$?
  passed=$(count passed "$log") failed=$(count failed "$log")
  PASSED=$((PASSED + passed)) FAILED=$((FAILED + failed))
  printf '%-8s %5d passed, %d failed in %d s\n' "$layer" "$passed" "$failed" $((SECONDS - start))
  if ((status != 0)); then
    BROKEN+=("$layer")
    ((failed > 0)) || FAILED=$((FAILED + 1)) # it did not even get to count
    tail -n 25 "$log" | sed 's/^/    | /'
    WHY+=("$(reasons "$log" | sed "s/^/$layer: /")")
  fi
}

# count passed|failed LOG
count() {
  awk -v what="$1" '/^test result: / || /^[0-9]+ passed, [0-9]+ failed/ {
    for (i = 2; i <= NF; i++) if ($i ~ "^" what "[;,]?$") sum += $(i - 1)
  } END { print sum + 0 }' "$2"
}

# reasons LOG: the lines that say what failed. They are printed last, where whoever sees only the end of the output finds them.
reasons() {
  local lines
  lines=$(grep -E '^(test .* FAILED|FAIL|[Ee]rror)|panicked at' "$1" | head -n 20)
  printf '%s\n' "${lines:-$(tail -n 1 "$1")}"
}

for layer in "${@:-${LAYERS[@]}}"; do run_layer "$layer"; done
echo "$PASSED passed, $FAILED failed"
((${#WHY[@]} == 0)) || printf '%s\n' "${WHY[@]}"
((${#BROKEN[@]} == 0)) || die "failed: ${BROKEN[*]} (logs in $LOGS)"
((PASSED > 0)) || die "no test ran"
