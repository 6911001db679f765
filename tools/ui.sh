#!/bin/bash
# The page: installs node and npm where they are missing, and makes target/ui, which hubble-ui carries or serves.
#   tools/ui.sh         make it, if anything it is made of changed
#   tools/ui.sh lab     test the page of a running lab ($LAB_NAME, or main) that was installed with hubble.relay.enabled and
#                       hubble.ui.enabled
#   tools/ui.sh test    make it, and test it in Chromium against flows that are made up (target/ui-test/screens)
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
cd "$ROOT"
export PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 CI=1

# need PROGRAM PACKAGES: installs Debian packages if the program is missing.
need() {
  have "$1" && return
  [ "$(id -u)" = 0 ] || die "no $1: install the Debian packages ${*:2} as root"
  apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${@:2}"
}

node_ready() {
  need npm nodejs npm
  at_least v18.0 "$(node --version)" || die "node $(node --version) is too old: 18 or later is needed"
}

modules() {
  node_ready
  [ ui/node_modules/.stamp -nt ui/package-lock.json ] && { echo "all here"; return; }
  # Not `npm ci`: it takes entries without the address of a registry for missing ones. The versions are the lock's all the same.
  (cd ui && npm install --no-save --no-audit --no-fund --ignore-scripts) && touch ui/node_modules/.stamp
}

page() {
  [ -f target/ui/index.html ] &&
    [ -z "$(find ui/src ui/public ui/index.html ui/*.js ui/package-lock.json -newer target/ui/index.html -print -quit)" ] &&
    { echo "nothing changed"; return; }
  (cd ui && npx vite build)
}

case ${1:-build} in
  build)
    step "the page's modules" modules
    step "the page" page
    run_steps
    ;;
  test)
    modules && page
    (cd ui && npx svelte-check)
    need "${AXONEME_CHROMIUM:-chromium}" chromium
    cargo build --locked -p hubble-ui --bin hubble-ui --example fake
    cd ui && npx playwright test
    ;;
  lab)
    modules
    need "${AXONEME_CHROMIUM:-chromium}" chromium
    # Where kubectl runs: what it forwards is heard in that machine alone. What is started there ends with the machine at last.
    tools/lab exec cp "$ROOT/tools/ui.sh" inside
    ;;
  inside)
    forwarded=http://127.0.0.1:${PORT:-12042}/ log=$LOGS/ui-forward.log
    for deployment in hubble-relay hubble-ui; do
      kubectl -n kube-system rollout status deployment/$deployment --timeout 120s
    done
    kubectl -n kube-system port-forward service/hubble-ui "${PORT:-12042}:80" > "$log" 2>&1 &
    trap 'kill '$! EXIT
    for _ in $(seq 100); do grep -q Forwarding "$log" && break; sleep 0.2; done
    grep -q Forwarding "$log" || die "nothing is forwarded: $(cat "$log")"
    cd ui && KUBECTL=kubectl AXONEME_UI_URL=$forwarded npx playwright test
    ;;
  *) die "usage: $0 [build|test|lab]" ;;
esac
