#!/bin/bash
# Tests of the lab itself, on the baseline network (no chart): two nodes, dual stack, DNS, exec, kube-proxy, and that
# nothing is left behind, also after `lab up` was killed at a bad moment.
set -uo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
cd "$ROOT" || exit 1
export LAB_NAME=selftest LAB_DIR=/tmp/axoneme-selftest
LAB=target/debug/lab passed=0 failed=0
trap '$LAB down > /dev/null 2>&1' EXIT

# check NAME COMMAND...: passes if the command succeeds.
check() {
  local name=$1 out
  shift
  if out=$("$@" 2>&1); then
    passed=$((passed + 1)) && echo "ok      $name"
  else
    failed=$((failed + 1)) && printf 'FAILED  %s\n%s\n' "$name" "$(tail -n 15 <<< "$out" | sed 's/^/        /')"
  fi
}

inside() { $LAB kubectl exec "$1" -- "${@:2}"; }
ip_of() { $LAB kubectl get pod "$1" -o "jsonpath={.status.podIPs[$2].ip}"; }
is() { [ "$1" = "$2" ] || { echo "seen: $1"; echo "wanted: $2"; return 1; }; }

pod() { # NAME NODE
  cat << Y
{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "$1", "labels": {"app": "$1"}}, "spec": {
  "nodeName": "$2", "terminationGracePeriodSeconds": 0, "containers": [{"name": "probe",
  "image": "localhost/axoneme/test:dev", "args": ["serve", "--tcp", "80", "--udp", "53"]}]}}
---
Y
}

nothing_left() {
  local left
  left=$(ls /run/netns 2> /dev/null | grep "axlab-$LAB_NAME"; grep "$LAB_DIR" /proc/self/mountinfo
    find /sys/fs/cgroup -maxdepth 2 -name "axlab-$LAB_NAME"; pgrep -fa "$LAB_DIR/$LAB_NAME"; ls -d "$LAB_DIR" 2> /dev/null)
  is "$left" ""
}

killed_up() { # SECONDS
  $LAB up --nodes 2 --cni bridge > /dev/null 2>&1 &
  sleep "$1"
  kill -9 $! && wait $! 2> /dev/null
  $LAB down && nothing_left
}

check "down without a lab" "$LAB" down
check "up" "$LAB" up --nodes 2 --ipv6 --cni bridge --kube-proxy
check "a second up is refused" bash -c "! $LAB up"
check "status says that all runs" "$LAB" status
check "status as JSON" bash -c "$LAB status -o json | jq -e '[.machines[] | select(.running)] | length == 4'"
check "nodes Ready" is "$($LAB kubectl get nodes --no-headers | awk '$2 == "Ready"' | wc -l)" 2
check "pods start" bash -c "{ $(declare -f pod); pod a n1; pod b n2; pod c n1; } | $LAB kubectl apply -f - &&
  $LAB kubectl wait --for=condition=Ready pod --all --timeout=60s"
check "exec" is "$(inside a hostname)" a
check "logs" "$LAB" kubectl logs a
# Five seconds: the reference plugins leave IPv6 addresses tentative for a while, and a SYN is sent again after one and three.
check "IPv4 across nodes" inside a probe connect --timeout 5000 "$(ip_of b 0):80"
check "IPv6 across nodes" inside a probe connect --timeout 5000 "[$(ip_of b 1)]:80"
check "same node" inside a probe connect --timeout 5000 "$(ip_of c 0):80"
check "UDP, fragments" inside a probe udp --timeout 5000 "$(ip_of b 0):53" --size 4000
check "ICMP" inside a probe ping "$(ip_of b 0)"
check "ICMPv6" inside a probe ping "$(ip_of b 1)"
check "a node reaches the outside" "$LAB" exec n1 "$ROOT/target/$TARGET/release/probe" connect 203.0.113.10:80
check "the outside sees the node's address" is "$($LAB exec n1 "$ROOT/target/$TARGET/release/probe" \
  connect '[2001:db8::10]:80' -o json | jq -r .seen_as | sed 's/:[0-9]*$//')" "[fd00:31::11]"
check "no pod network in the outside" bash -c "! $LAB exec world ip route get $(ip_of a 0)"
check "names, through kube-proxy" inside a nslookup kubernetes.default.svc.cluster.local 10.96.0.10
check "API server through its service" inside a probe connect --timeout 5000 10.96.0.1:443 --handshake
check "connections that last" inside a probe hold "$(ip_of b 0):80" --seconds 1
check "a closed port is told apart" bash -c "$LAB kubectl exec a -- probe connect $(ip_of b 0):81 | grep refused"
check "own cgroups" is "$($LAB exec n1 sed -n '/^0::/p' /proc/self/cgroup)" "0::/init"
check "own bpffs" bash -c "$LAB exec n1 mkdir /sys/fs/bpf/mine && ! $LAB exec n2 ls /sys/fs/bpf/mine && ! ls /sys/fs/bpf/mine"
check "a service dies and starts again" bash -c "$LAB service kill n1 kubelet && ! $LAB status > /dev/null &&
  $LAB service start n1 kubelet && $LAB status"
check "down" "$LAB" down
check "nothing is left" nothing_left
for seconds in 0.2 0.7 2 5 8; do check "killed after $seconds s, nothing is left" killed_up $seconds; done
echo "$passed passed, $failed failed"
((failed == 0))
