#!/usr/bin/env bash
# Tests of the charts: good values render and say what they should, bad ones are refused with a clear text.
# Needs helm (variable HELM, or on PATH). Run by `make test`.
set -u
cd "$(dirname "$0")/cilium" || exit 1
HELM=${HELM:-helm}
command -v "$HELM" >/dev/null || { echo "charts/test.sh: no helm; set HELM, or run 'make test', which builds it" >&2; exit 1; }
KUBE=${KUBE_VERSION:-1.34.0}
passed=0 failed=0
out=$(mktemp) && trap 'rm -f "$out"' EXIT

fail() { failed=$((failed + 1)); printf 'FAILED  %s\n' "$1"; sed 's/^/        /' "$out" | head -${2:-12}; }
ok() { passed=$((passed + 1)); }
render() { "$HELM" template cilium . --namespace kube-system --kube-version "$KUBE" "$@" >"$out" 2>&1; }

# good NAME EXPECTED-LINES... -- HELM-ARGS...: renders, and each expected line is there (leading blanks do not count;
# a text behind '!' must not be there, one behind '~' may be anywhere in a line).
good() {
  local name=$1 lines=(); shift
  while [ "$1" != -- ]; do lines+=("$1"); shift; done; shift
  if ! render "$@"; then fail "good: $name does not render"; return; fi
  for line in "${lines[@]}"; do
    if [ "${line#!}" != "$line" ]; then
      grep -qF -- "${line#!}" "$out" && { fail "good: $name has '${line#!}'" 0; return; }
    elif [ "${line#\~}" != "$line" ]; then
      grep -qF -- "${line#\~}" "$out" || { fail "good: $name lacks '${line#\~}'" 0; return; }
    else
      grep -qE "^ *(- )?$(printf '%s' "$line" | sed 's/[][\.*^$+?(){}|/]/\\&/g')\$" "$out" || { fail "good: $name lacks '$line'" 0; return; }
    fi
  done
  ok
}

# bad NAME TEXT -- HELM-ARGS...: is refused, and the message holds TEXT.
bad() {
  local name=$1 text=$2; shift 3
  if render "$@"; then : >"$out"; fail "bad: $name is accepted"; return; fi
  if tr -s ' \n' ' ' <"$out" | grep -qF -- "$text"; then ok; else fail "bad: $name is refused without '$text'"; fi
}

"$HELM" lint . --kube-version "$KUBE" >"$out" 2>&1 && ok || fail "helm lint"

good defaults 'routing-mode: tunnel' 'ipam: cluster-pool' 'cluster-pool-ipv4-cidr: 10.0.0.0/8' 'enable-ipv6: "false"' \
  'kube-proxy-replacement: "false"' 'image: "axoneme/cilium:0.1.0"' 'privileged: true' '!cluster-pool-ipv6' \
  'set-cilium-node-taints: "true"' 'unmanaged-pod-watcher-interval: 15s' --
good native 'routing-mode: native' 'auto-direct-node-routes: "true"' 'ipv4-native-routing-cidr: 10.0.0.0/8' -- -f profiles/native.yaml
good dual-stack 'enable-ipv6: "true"' 'cluster-pool-ipv6-mask-size: "120"' 'operator-api-serve-addr: 127.0.0.1:9234' -- -f profiles/dual-stack.yaml
good native-dual-stack 'ipv6-native-routing-cidr: fd00::/104' -- -f profiles/native.yaml -f profiles/dual-stack.yaml
good locked-down 'enable-policy: always' -- -f profiles/locked-down.yaml
good ipv6-only 'host: "::1"' 'operator-api-serve-addr: '"'"'[::1]:9234'"'" '!cluster-pool-ipv4' -- --set ipv4.enabled=false,ipv6.enabled=true
good kubernetes-ipam 'ipam: kubernetes' '!cluster-pool' -- --set ipam.mode=kubernetes
good native-without-masquerade 'enable-ipv4-masquerade: "false"' -- --set routingMode=native,enableIPv4Masquerade=false
good privileged 'mountPropagation: Bidirectional' '!mount-bpf-fs' '!host-proc-sys-net' -- --set securityContext.privileged=true
good no-cni-install 'write-cni-conf-when-ready: ""' '!install-cni-binaries' -- --set cni.install=false
good image-override 'image: "a/b:c"' 'image: "d/e:f"' -- --set image.override=a/b:c,operator.image.override=d/e:f
good api-server 'value: "10.1.2.3"' 'value: "6443"' -- --set k8sServiceHost=10.1.2.3,k8sServicePort=6443
good devices 'devices: eth0 eth1' -- --set 'devices={eth0,eth1}'
good one-device 'devices: eth0' -- --set devices=eth0
good pools 'cluster-pool-ipv4-cidr: 10.1.0.0/16 10.2.0.0/16' -- --set 'ipam.operator.clusterPoolIPv4PodCIDRList={10.1.0.0/16,10.2.0.0/16}'
good extra-config 'debug: "true"' 'own-key: "7"' '- --x=y' -- --set extraConfig.debug=true,extraConfig.own-key=7,'extraArgs={--x=y}'
good sizes 'bpf-ct-global-tcp-max: "2097152"' -- --set bpf.ctTcpMax=2097152
good taints-off 'set-cilium-node-taints: "false"' '!resources: [nodes/status]' -- --set operator.removeNodeTaints=false,operator.setNodeNetworkStatus=false
good no-restarts 'unmanaged-pod-watcher-interval: 0s' '!verbs: [delete]' -- --set operator.unmanagedPodWatcher.restart=false
good own-taint 'agent-not-ready-taint-key: example.org/wait' '- key: example.org/wait' -- --set agentNotReadyTaintKey=example.org/wait
good kpr-as-boolean 'kube-proxy-replacement: "false"' -- --set kubeProxyReplacement=false
good switched-off-features 'routing-mode: tunnel' -- --set socketLB.enabled=false,encryption.enabled=false,encryption.type=ipsec,l7Proxy=false,hubble.relay.enabled=false,envoy.enabled=false
good rollout '~cilium.io/cilium-configmap-checksum: "' -- --set rollOutCiliumPods=true,operator.rollOutPods=true
good other-namespace 'namespace: net' -- --set namespaceOverride=net
KUBE=1.28.0 good old-kubernetes 'container.apparmor.security.beta.kubernetes.io/cilium-agent: unconfined' '!appArmorProfile' --
KUBE=1.34.0-rc.1+vendor good new-kubernetes 'appArmorProfile:' '!container.apparmor' --

bad both-families-off 'pods need at least one address family' -- --set ipv4.enabled=false
bad native-masquerade 'native routing cidr must be configured with option ipv4-native-routing-cidr in combination with masquerade' -- --set routingMode=native
bad native-masquerade-v6 'native routing cidr must be configured with option ipv6-native-routing-cidr' -- --set routingMode=native,ipv4NativeRoutingCIDR=10.0.0.0/8,ipv6.enabled=true
bad direct-routes-in-tunnel 'autoDirectNodeRoutes=true cannot be used with routingMode=tunnel' -- --set autoDirectNodeRoutes=true
bad mask-larger-than-pool 'clusterPoolIPv4MaskSize=16 is larger than the pool 10.1.0.0/20' -- --set 'ipam.operator.clusterPoolIPv4PodCIDRList={10.1.0.0/20},ipam.operator.clusterPoolIPv4MaskSize=16'
bad mask-too-small 'clusterPoolIPv4MaskSize' -- --set ipam.operator.clusterPoolIPv4MaskSize=31
bad empty-pool 'clusterPoolIPv4PodCIDRList is empty' -- --set-json 'ipam.operator.clusterPoolIPv4PodCIDRList=[]'
bad pool-of-other-family 'clusterPoolIPv4PodCIDRList/0' -- --set 'ipam.operator.clusterPoolIPv4PodCIDRList={fd00::/64}'
bad bad-cidr 'ipv4NativeRoutingCIDR' -- --set routingMode=native,ipv4NativeRoutingCIDR=10.0.0.0
bad cidr-octet 'ipv4NativeRoutingCIDR' -- --set routingMode=native,ipv4NativeRoutingCIDR=10.0.0.256/8
bad kpr 'kubeProxyReplacement=true is not in this version: Services stay with kube-proxy' -- --set kubeProxyReplacement=true
bad geneve 'tunnelProtocol=geneve is not in this version' -- --set tunnelProtocol=geneve
bad eni 'ipam.mode=eni is not in this version' -- --set ipam.mode=eni
bad chaining 'cni.chainingMode=flannel is not in this version' -- --set cni.chainingMode=flannel
bad iptables-masquerade 'bpf.masquerade=false is not possible' -- --set bpf.masquerade=false
bad legacy-routing 'bpf.hostLegacyRouting=true is not in this version' -- --set bpf.hostLegacyRouting=true
bad socket-lb 'socketLB is not in this version: Services stay with kube-proxy.' -- --set socketLB.enabled=true
bad wireguard 'encryption is not in this version' -- --set encryption.enabled=true,encryption.type=wireguard
bad old-tunnel 'tunnel is not in this version: Cilium replaced it in 1.15 by routingMode' -- --set tunnel=vxlan
bad relay 'hubble.relay is not in this version' -- --set hubble.relay.enabled=true
bad unknown-key "additional properties 'ipv5' not allowed" -- --set ipv5.enabled=true
bad unknown-nested-key "additional properties 'tproxy' not allowed" -- --set bpf.tproxy=true
bad routing-mode 'routingMode' -- --set routingMode=overlay
bad enforcement 'policyEnforcementMode' -- --set policyEnforcementMode=sometimes
bad wrong-type 'ipv6/enabled' -- --set-string ipv6.enabled=true
bad mtu 'MTU' -- --set MTU=100
bad port 'tunnelPort' -- --set tunnelPort=70000
bad buffer 'eventBufferCapacity' -- --set hubble.eventBufferCapacity=4096
bad cluster-name 'cluster/name' -- --set cluster.name=Not_Good
bad cluster-id 'cluster.id=3 needs a cluster.name other than "default"' -- --set cluster.id=3
bad duration 'identityGCInterval' -- --set operator.identityGCInterval=soon
bad taints 'would keep pods off every node for ever' -- --set operator.setNodeTaints=true,operator.removeNodeTaints=false
bad no-operator 'nobody would give nodes their pod CIDRs' -- --set operator.enabled=false
bad digest 'image.useDigest=true needs' -- --set image.useDigest=true

# The features refused by name are the same in the schema and in the file with their texts.
named=$(sed -n 's/^\([A-Za-z0-9]*\):.*/\1/p' files/not-in-this-version.yaml | sort)
schema=$(sed -n 's/^    "\([A-Za-z0-9]*\)": true,\{0,1\}$/\1/p' values.schema.json | sort)
if [ "$named" = "$schema" ]; then ok; else diff <(echo "$named") <(echo "$schema") >"$out"; fail "schema and files/not-in-this-version.yaml differ"; fi

# Every key of the ConfigMap is read by the agent or by the operator, but for those that tools read or that state a fact.
render -f profiles/native.yaml -f profiles/dual-stack.yaml --set hubble.listenAddress=:4244,MTU=1500,devices=eth0,tunnelPort=1,bpf.ctTcpMax=4096,bpf.natMax=4096
keys=$(awk '/^kind: ConfigMap/{on=1} on&&/^data:/{data=1;next} data&&/^---/{exit} data&&/^  [a-z0-9-]+:/{sub(":.*","");print $1}' "$out" | sort -u)
for key in $keys; do
  case $key in
  enable-bpf-masquerade | identity-allocation-mode | kube-proxy-replacement | cluster-id) continue ;;
  esac
  if grep -rqF "\"$key\"" ../../bin/agent/src ../../bin/operator/src; then ok; else : >"$out"; fail "ConfigMap key $key: neither agent nor operator reads it"; fi
done

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
