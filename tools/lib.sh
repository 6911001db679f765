# Shared by the scripts here: numbered steps with times, long output in files, the end of it when a step fails.
# shellcheck shell=bash

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
LOGS=$ROOT/target/logs
TOOLS=$ROOT/target/tools/bin
CACHE=${AXONEME_CACHE:-$HOME/.cache/axoneme}/tools
TARGET=x86_64-unknown-linux-gnu
mkdir -p "$LOGS" "$TOOLS"
# What CI builds is built once: what would make the next build quicker only fills the disk.
[ -z "${CI:-}" ] || export CARGO_INCREMENTAL=0
export PATH="$HOME/.cargo/bin:/usr/local/go/bin:$TOOLS:$PATH:/usr/local/sbin:/usr/sbin:/sbin"

STEP_NAMES=() STEP_COMMANDS=()

# step NAME FUNCTION: to be done by run_steps.
step() { STEP_NAMES+=("$1"); STEP_COMMANDS+=("$2"); }

# Does all steps in order; the first failure ends it.
run_steps() {
  local total=${#STEP_NAMES[@]} i
  for ((i = 0; i < total; i++)); do one_step "[$((i + 1))/$total]" "${STEP_NAMES[i]}" "${STEP_COMMANDS[i]}"; done
  STEP_NAMES=() STEP_COMMANDS=()
}

one_step() {
  local number=$1 name=$2 command=$3 log status=0 start=$SECONDS last=$SECONDS
  log=$LOGS/$command.log
  "$command" > "$log" 2>&1 < /dev/null &
  local pid=$!
  while kill -0 "$pid" 2> /dev/null; do
    sleep 0.1
    if ((SECONDS - last >= 20)); then
      last=$SECONDS
      printf '%s %s ... %d s: %.90s\n' "$number" "$name" $((SECONDS - start)) "$(tail -n 1 "$log")"
    fi
  done
  wait "$pid" || status=$?
  if ((status != 0)); then
    printf '%s %s FAILED after %d s; the end of %s:\n' "$number" "$name" $((SECONDS - start)) "$log" >&2
    tail -n 25 "$log" | sed 's/^/    | /' >&2
    exit 1
  fi
  printf '%s %-44s %4d s\n' "$number" "$name" $((SECONDS - start))
}

have() { type -P "$1" > /dev/null 2>&1; }

die() { echo "$*" >&2; exit 1; }

# at_least WANTED SEEN: compares dotted versions.
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

# begin_suite NAME: what a suite of others' tests needs, room for its output in $OUT, and among the steps the lab $LAB_NAME by
# lab_up, unless it is up already, and its images by lab_images. The lab goes with the script, unless KEEP is set.
begin_suite() {
  tools/setup.sh "$1"
  rm -rf "${OUT:?}"
  mkdir -p "$OUT"
  if ! $LAB status > /dev/null 2>&1; then
    [ -n "${KEEP:-}" ] || trap '$LAB down > /dev/null' EXIT
    step "lab $LAB_NAME" lab_up
  fi
  step "images of the suite" lab_images
}
