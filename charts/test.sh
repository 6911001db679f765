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

good no-health-checking 'enable-health-checking: "false"' -- --set healthChecking=false
good defaults 'enable-health-checking: "true"' 'helm.sh/chart: cilium-0.1.0' 'routing-mode: tunnel' 'ipam: cluster-pool' 'cluster-pool-ipv4-cidr: 10.0.0.0/8' 'enable-ipv6: "false"' \
  'kube-proxy-replacement: "false"' 'image: "axoneme/cilium:0.1.0"' 'privileged: true' '!cluster-pool-ipv6' \
  '!bpf-lb' '!node-port' '!service-no-backend' '!cgroup' 'resources: [services]' \
  'set-cilium-node-taints: "true"' 'unmanaged-pod-watcher-interval: 15s' --
good native 'routing-mode: native' 'auto-direct-node-routes: "true"' 'ipv4-native-routing-cidr: 10.0.0.0/8' -- -f profiles/native.yaml
good dual-stack 'enable-ipv6: "true"' 'cluster-pool-ipv6-mask-size: "120"' 'operator-api-serve-addr: 127.0.0.1:9234' -- -f profiles/dual-stack.yaml
good native-dual-stack 'ipv6-native-routing-cidr: fd00::/104' -- -f profiles/native.yaml -f profiles/dual-stack.yaml
good cluster-policies 'enable-k8s-cluster-network-policy: "true"' 'resources: [clusternetworkpolicies]' 'resources: [clusternetworkpolicies/status]' 'name: clusternetworkpolicies.policy.networking.k8s.io' -- --set k8sClusterNetworkPolicy.enabled=true
good cluster-policies-elsewhere 'resources: [clusternetworkpolicies]' 'resources: [clusternetworkpolicies/status]' '!CustomResourceDefinition' -- --set k8sClusterNetworkPolicy.enabled=true,k8sClusterNetworkPolicy.installCRD=false
good cidr-match-mode 'policy-cidr-match-mode: nodes pods' 'enable-node-selector-labels: "true"' '~ciliumcidrgroups' -- --set 'policyCIDRMatchMode={nodes,pods}',nodeSelectorLabels=true
good cidr-match-mode-as-text 'policy-cidr-match-mode: nodes' -- --set policyCIDRMatchMode=nodes
good no-cidr-match-mode '!policy-cidr-match-mode' 'enable-node-selector-labels: "false"' --
bad cidr-match-mode 'policyCIDRMatchMode' -- --set 'policyCIDRMatchMode={world}'
good locked-down 'enable-policy: always' -- -f profiles/locked-down.yaml
good ipv6-only 'host: "::1"' 'operator-api-serve-addr: '"'"'[::1]:9234'"'" '!cluster-pool-ipv4' -- --set ipv4.enabled=false,ipv6.enabled=true
good kubernetes-ipam 'ipam: kubernetes' '!cluster-pool' -- --set ipam.mode=kubernetes
good native-without-masquerade 'enable-ipv4-masquerade: "false"' -- --set routingMode=native,enableIPv4Masquerade=false
# The first article's installation, with the names of today.
good no-conntrack 'routing-mode: native' 'debug: "true"' -- --set \
  debug.enabled=true,debug.verbose=datapath,routingMode=native,ipv4NativeRoutingCIDR=10.0.0.0/8,installNoConntrackIptablesRules=true
good chaining 'cni-chaining-mode: generic-veth' 'read-cni-conf: /tmp/cni-configuration/cni-config' 'write-cni-conf-when-ready: /etc/cni/net.d/05-cilium.conflist' 'mountPath: /tmp/cni-configuration' 'name: cni-configuration' -- \
  --set cni.chainingMode=generic-veth,cni.customConf=true,cni.configMap=cni-configuration,routingMode=native,enableIPv4Masquerade=false,k8sServiceHost=192.168.1.200,k8sServicePort=6443
good chaining-flannel 'cni-chaining-mode: flannel' '!read-cni-conf' 'write-cni-conf-when-ready: /etc/cni/net.d/05-cilium.conflist' -- --set cni.chainingMode=flannel,routingMode=native,enableIPv4Masquerade=false
good own-conf 'write-cni-conf-when-ready: ""' '!read-cni-conf' -- --set cni.customConf=true
good legacy-routing 'enable-host-legacy-routing: "true"' -- --set bpf.hostLegacyRouting=true
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
good ip-masq 'enable-ip-masq-agent: "true"' 'mountPath: /etc/config' 'optional: true' 'path: ip-masq-agent' '!config: |-' -- --set ipMasqAgent.enabled=true
good ip-masq-list 'config: |-' 'nonMasqueradeCIDRs:' '- 10.0.0.0/8' '- fd00::/8' 'masqLinkLocal: true' -- \
  --set ipMasqAgent.enabled=true,ipMasqAgent.config.masqLinkLocal=true,'ipMasqAgent.config.nonMasqueradeCIDRs={10.0.0.0/8,fd00::/8}'
good ip-masq-empty-list 'nonMasqueradeCIDRs: []' -- --set ipMasqAgent.enabled=true --set-json 'ipMasqAgent.config.nonMasqueradeCIDRs=[]'
good ip-masq-native 'routing-mode: native' '!ipv4-native-routing-cidr' -- --set ipMasqAgent.enabled=true,routingMode=native
good ip-masq-off '!ip-masq-agent' -- --set 'ipMasqAgent.config.nonMasqueradeCIDRs={10.0.0.0/8}'
good kpr-as-boolean 'kube-proxy-replacement: "false"' -- --set kubeProxyReplacement=false
good kpr 'kube-proxy-replacement: "true"' 'bpf-lb-sock-hostns-only: "false"' 'bpf-lb-algorithm: random' 'bpf-lb-mode: snat' \
  'enable-service-topology: "false"' 'bpf-lb-external-clusterip: "false"' 'bpf-lb-source-range-all-types: "false"' \
  'node-port-range: 30000,32767' 'node-port-bind-protection: "true"' 'enable-health-check-nodeport: "true"' \
  'service-no-backend-response: reject' 'cgroup-root: /run/cilium/cgroupv2' 'resources: [services]' 'name: mount-cgroup' \
  '!bpf-lb-sock:' '!cleanup-kube-proxy' '!maglev' '!bpf-lb-map-max' '!healthz-bind' '!k8s-service-proxy-name' -- --set kubeProxyReplacement=true
good kpr-cleanup 'cleanup-kube-proxy: "true"' -- --set kubeProxyReplacement=true,kubeProxyReplacementCleanup=true
good kpr-as-string 'kube-proxy-replacement: "true"' -- --set-string kubeProxyReplacement=true
good socket-lb 'bpf-lb-sock: "true"' 'bpf-lb-sock-hostns-only: "true"' -- --set kubeProxyReplacement=true,socketLB.enabled=true,socketLB.hostNamespaceOnly=true
good no-socket-lb 'bpf-lb-sock: "false"' -- --set kubeProxyReplacement=true,socketLB.enabled=false
good node-ports 'node-port-range: 20000,20010' 'node-port-bind-protection: "false"' 'enable-health-check-nodeport: "false"' -- \
  --set kubeProxyReplacement=true,nodePort.enabled=true,nodePort.bindProtection=false,nodePort.enableHealthCheck=false,'nodePort.range=20000\,20010'
good load-balancer 'bpf-lb-algorithm: maglev' 'enable-service-topology: "true"' 'bpf-lb-maglev-table-size: "65521"' \
  'bpf-lb-maglev-hash-seed: JLfvgnHc2kaSUFaI' -- \
  --set kubeProxyReplacement=true,loadBalancer.algorithm=maglev,loadBalancer.serviceTopology=true,maglev.tableSize=65521,maglev.hashSeed=JLfvgnHc2kaSUFaI
good services-in-bpf 'bpf-lb-external-clusterip: "true"' 'bpf-lb-source-range-all-types: "true"' 'bpf-lb-map-max: "65536"' -- \
  --set kubeProxyReplacement=true,bpf.lbExternalClusterIP=true,bpf.lbSourceRangeAllTypes=true,bpf.lbMapMax=65536
good kpr-healthz 'kube-proxy-replacement-healthz-bind-address: 0.0.0.0:10256' -- --set kubeProxyReplacement=true,kubeProxyReplacementHealthzBindAddr=0.0.0.0:10256
good kpr-healthz-v6 "kube-proxy-replacement-healthz-bind-address: '[::]:10256'" -- --set kubeProxyReplacement=true,'kubeProxyReplacementHealthzBindAddr=[::]:10256'
good no-backend 'service-no-backend-response: drop' -- --set kubeProxyReplacement=true,serviceNoBackendResponse=drop
good proxy-name 'k8s-service-proxy-name: blue' -- --set kubeProxyReplacement=true,k8s.serviceProxyName=blue
good own-cgroup-place 'path: /run/x' 'mountPath: /run/x' 'root=/run/x' 'mountPath: /run/cilium/cgroupv2' 'cgroup-root: /run/cilium/cgroupv2' -- \
  --set kubeProxyReplacement=true,cgroup.hostRoot=/run/x
good cgroup-there 'path: /sys/fs/cgroup' 'mountPath: /run/cilium/cgroupv2' '!mount-cgroup' '!host-sys-fs-cgroup' -- \
  --set kubeProxyReplacement=true,cgroup.autoMount.enabled=false,cgroup.hostRoot=/sys/fs/cgroup
good kpr-switched-off '!bpf-lb' '!cgroup' -- --set loadBalancer.algorithm=maglev,kubeProxyReplacementHealthzBindAddr=:10256,socketLB.hostNamespaceOnly=true
good switched-off-features 'routing-mode: tunnel' -- --set socketLB.enabled=false,encryption.enabled=false,encryption.type=ipsec,l7Proxy=false,hubble.relay.enabled=false,envoy.enabled=false
good hubble-tls 'name: hubble-server-certs' 'name: cilium-ca' 'hubble-disable-tls: "false"' 'mountPath: /var/lib/cilium/tls/hubble' \
  'hubble-tls-client-ca-files: /var/lib/cilium/tls/hubble/client-ca.crt' 'name: hubble-peer' 'internalTrafficPolicy: Local' \
  'value: unix:///var/run/cilium/hubble.sock' '!hubble-relay' --
good hubble-own-certs 'name: mine' '!cilium-ca' -- --set hubble.tls.auto.enabled=false,hubble.tls.server.existingSecret=mine
good hubble-certmanager 'kind: Certificate' 'name: issuer' 'secretName: hubble-server-certs' 'commonName: "*.east.hubble-grpc.cilium.io"' '!cilium-ca' -- \
  --set hubble.tls.auto.method=certmanager,hubble.tls.auto.certManagerIssuerRef.name=issuer,cluster.name=east
good hubble-plain 'hubble-disable-tls: "true"' 'port: 80' '!hubble-tls' '!hubble-server-certs' -- --set hubble.tls.enabled=false
good hubble-local '!hubble-listen-address' '!hubble-peer' '!hubble-server-certs' -- --set hubble.listenAddress=
good hubble-off 'enable-hubble: "false"' '!hubble-peer' '!hubble-server-certs' '!HUBBLE_SERVER' -- --set hubble.enabled=false
good hubble-metrics 'name: hubble-metrics' 'hubble-metrics-server: :9965' 'clusterIP: None' 'prometheus.io/port: "9965"' \
  'hubble-metrics: dns:query;ignoreAAAA drop:sourceContext=pod' 'enable-hubble-open-metrics: "true"' -- \
  --set 'hubble.metrics.enabled={dns:query;ignoreAAAA,drop:sourceContext=pod},hubble.metrics.enableOpenMetrics=true'
good metrics 'prometheus-serve-addr: :9962' 'metrics: -cilium_nodes_all_num' 'prometheus.io/port: "9962"' 'enable-metrics: "true"' \
  'operator-prometheus-serve-addr: :9963' 'prometheus.io/port: "9963"' '!grafana_dashboard' -- \
  --set 'prometheus.enabled=true,prometheus.metrics={-cilium_nodes_all_num}'
good no-metrics '!prometheus' -- --set operator.prometheus.enabled=false
good monitors 'kind: ServiceMonitor' 'name: cilium-agent' 'name: cilium-operator' 'name: hubble' 'port: hubble-metrics' 'port: metrics' 'port: 9962' \
  'port: 9963' 'replacement: ${1}' 'namespace: monitoring' 'release: mine' 'scrapeTimeout: "5s"' '!prometheus.io/' '!jobLabel' -- \
  --api-versions monitoring.coreos.com/v1 --set prometheus.enabled=true,prometheus.serviceMonitor.enabled=true \
  --set operator.prometheus.serviceMonitor.enabled=true,operator.prometheus.serviceMonitor.namespace=monitoring \
  --set 'hubble.metrics.enabled={tcp},hubble.metrics.serviceMonitor.enabled=true,hubble.metrics.serviceMonitor.labels.release=mine' \
  --set hubble.metrics.serviceMonitor.scrapeTimeout=5s
good relay-metrics 'metrics-listen-address: ":9966"' 'prometheus.io/port: "9966"' 'containerPort: 9966' '!hubble-relay-metrics' -- \
  --set hubble.relay.enabled=true,hubble.relay.prometheus.enabled=true
good relay-monitor 'name: hubble-relay-metrics' 'port: 9966' 'kind: ServiceMonitor' '!prometheus.io/port: "9966"' -- \
  --set hubble.relay.enabled=true,hubble.relay.prometheus.enabled=true,hubble.relay.prometheus.serviceMonitor.enabled=true \
  --set hubble.relay.prometheus.serviceMonitor.trustCRDsExist=true
good no-relay-metrics '!metrics-listen-address' '!9966' -- --set hubble.relay.enabled=true
good monitors-on-trust 'kind: ServiceMonitor' '~prometheus.io/port: "9963"' '!name: hubble-metrics' -- \
  --set prometheus.enabled=true,prometheus.serviceMonitor.enabled=true,prometheus.serviceMonitor.trustCRDsExist=true
bad monitors-unknown 'install the operator for Prometheus first' -- --set operator.prometheus.serviceMonitor.enabled=true
bad monitors-of-nothing 'hubble.metrics.serviceMonitor.enabled=true needs hubble.metrics.enabled' -- \
  --set hubble.metrics.serviceMonitor.enabled=true,hubble.metrics.serviceMonitor.trustCRDsExist=true
bad monitor-interval 'prometheus/serviceMonitor/interval' -- --set prometheus.serviceMonitor.interval=often
good dashboards 'name: cilium-dashboard' 'name: cilium-operator-dashboard' 'name: hubble-dashboard' 'grafana_dashboard: "1"' 'look: "yes"' \
  'namespace: monitoring' '~"title": "Network overview"' -- --set dashboards.enabled=true,operator.dashboards.enabled=true,hubble.metrics.dashboards.enabled=true \
  --set dashboards.namespace=monitoring,operator.dashboards.label=look,operator.dashboards.labelValue=yes
good hubble-export 'hubble-export-file-path: /var/run/cilium/hubble/events.log' 'hubble-export-fieldmask: time source.pod_name' \
  'hubble-export-allowlist: '"'"'{"verdict":["DROPPED"]}'"'" -- \
  --set hubble.export.static.enabled=true,'hubble.export.static.fieldMask={time,source.pod_name}' \
  --set-json 'hubble.export.static.allowList=["{\"verdict\":[\"DROPPED\"]}"]'
good hubble-flowlogs 'name: cilium-flowlog-config' 'hubble-flowlogs-config-path: /flowlog-config/flowlogs.yaml' 'flowLogs:' \
  'filePath: /x.log' 'mountPath: /flowlog-config' -- \
  --set hubble.export.dynamic.enabled=true,'hubble.export.dynamic.config.content[0].name=x,hubble.export.dynamic.config.content[0].filePath=/x.log'
good hubble-history 'hubble-history-path: /var/run/cilium/flows' 'hubble-history-max-size-mb: "64"' '!hubble-drop' '!hubble-redact' -- \
  --set hubble.history.enabled=true,hubble.history.maxSizeMb=64
good hubble-drop-events 'hubble-drop-events: "true"' 'hubble-drop-events-interval: 30s' 'hubble-drop-events-reasons: auth_required,policy_denied' \
  'resources: [events]' '!hubble-history' -- --set hubble.dropEventEmitter.enabled=true,hubble.dropEventEmitter.interval=30s
good hubble-redact 'hubble-redact-enabled: "true"' 'hubble-redact-http-urlquery: "true"' 'hubble-redact-http-userinfo: "true"' \
  'hubble-redact-http-headers-deny: Cookie' '!headers-allow' -- --set hubble.redact.enabled=true,hubble.redact.http.urlQuery=true,'hubble.redact.http.headers.deny={Cookie}'
good relay 'name: hubble-relay' 'name: hubble-relay-config' 'image: "axoneme/hubble-relay:0.1.0"' 'secretName: x' 'port: 4222' \
  'peer-service: "hubble-peer.kube-system.svc.cluster.local.:443"' 'disable-server-tls: true' 'name: hubble-relay-client-certs' \
  'automountServiceAccountToken: false' '!disable-client-tls' '!hubble-relay-server-certs' -- \
  --set hubble.relay.enabled=true,'extraVolumes[0].name=x,extraVolumes[0].secret.secretName=x'
good relay-tls 'tls-relay-server-cert-file: /var/lib/hubble-relay/tls/server.crt' 'name: hubble-relay-server-certs' 'port: 443' \
  'tls-relay-client-ca-files: /var/lib/hubble-relay/tls/hubble-server-ca.crt' -- \
  --set hubble.relay.enabled=true,hubble.relay.tls.server.enabled=true,hubble.relay.tls.server.mtls=true
good relay-plain 'disable-client-tls: true' 'peer-service: "hubble-peer.kube-system.svc.cluster.local.:80"' '!/var/lib/hubble-relay/tls' -- \
  --set hubble.relay.enabled=true,hubble.tls.enabled=false
good relay-node-port 'nodePort: 31234' 'type: "NodePort"' -- --set hubble.relay.enabled=true,hubble.relay.service.type=NodePort
good ui 'name: hubble-ui' 'image: "axoneme/hubble-ui:0.1.0"' 'value: "hubble-relay.kube-system.svc.cluster.local:80"' 'resourceNames: [cilium-config]' \
  'resources: [namespaces, pods, services, nodes]' 'runAsUser: 1001' '!TLS_TO_RELAY' '!hubble-ui-client-certs' '!kind: Ingress' -- \
  --set hubble.relay.enabled=true,hubble.ui.enabled=true,hubble.ui.frontend.server.ipv6.enabled=false
good ui-tls 'name: hubble-ui-client-certs' 'value: "hubble-relay.kube-system.svc.cluster.local:443"' 'path: hubble-relay-ca.crt' -- \
  --set hubble.relay.enabled=true,hubble.ui.enabled=true,hubble.relay.tls.server.enabled=true,hubble.relay.tls.server.mtls=true
good ui-outside 'kind: Ingress' 'host: "flows.example.org"' 'path: "/hubble"' 'value: "/hubble"' 'nodePort: 31235' -- \
  --set hubble.relay.enabled=true,hubble.ui.enabled=true,hubble.ui.baseUrl=/hubble,hubble.ui.service.type=NodePort,hubble.ui.ingress.enabled=true,'hubble.ui.ingress.hosts={flows.example.org}'
good ui-off '!hubble-ui' -- --set hubble.relay.enabled=true
good rollout '~cilium.io/cilium-configmap-checksum: "' -- --set rollOutCiliumPods=true,operator.rollOutPods=true
good other-namespace 'namespace: net' -- --set namespaceOverride=net
KUBE=1.28.0 good old-kubernetes 'container.apparmor.security.beta.kubernetes.io/cilium-agent: unconfined' '!appArmorProfile' --
KUBE=1.34.0-rc.1+vendor good new-kubernetes 'appArmorProfile:' '!container.apparmor' --

good redirects 'enable-local-redirect-policy: "true"' '!lrp-address' 'resources: [ciliumlocalredirectpolicies]' -- --set kubeProxyReplacement=true,localRedirectPolicies.enabled=true
good redirects-by-old-name 'enable-local-redirect-policy: "true"' 'resources: [ciliumlocalredirectpolicies]' -- --set localRedirectPolicy=true
good redirected-addresses 'lrp-address-matcher-cidrs: 169.254.0.0/16,fd00::/64' -- --set localRedirectPolicies.enabled=true,'localRedirectPolicies.addressMatcherCIDRs={169.254.0.0/16,fd00::/64}'
good no-redirects '!local-redirect' '!lrp-' '!resources: [ciliumlocalredirectpolicies]' -- --set kubeProxyReplacement=true

bad redirected-addresses 'localRedirectPolicies/addressMatcherCIDRs/0' -- --set 'localRedirectPolicies.addressMatcherCIDRs={169.254.169.254}'
bad ip-masq-alone 'ipMasqAgent.enabled=true cannot be used without masquerading' -- --set ipMasqAgent.enabled=true,enableIPv4Masquerade=false
bad ip-masq-cidr 'ipMasqAgent/config/nonMasqueradeCIDRs/0' -- --set ipMasqAgent.enabled=true,'ipMasqAgent.config.nonMasqueradeCIDRs={10.0.0.0}'
bad ip-masq-key "additional properties 'masqLinkLocalIPv4' not allowed" -- --set ipMasqAgent.config.masqLinkLocalIPv4=true
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
bad kpr 'kubeProxyReplacement' -- --set kubeProxyReplacement=strict
bad dsr 'loadBalancer.mode=dsr cannot be used with routingMode=tunnel' -- --set kubeProxyReplacement=true,loadBalancer.mode=dsr
bad hybrid 'loadBalancer.mode=hybrid cannot be used with routingMode=tunnel' -- --set kubeProxyReplacement=true,loadBalancer.mode=hybrid
bad algorithm 'loadBalancer/algorithm' -- --set loadBalancer.algorithm=least
bad maglev-size 'maglev/tableSize' -- --set kubeProxyReplacement=true,maglev.tableSize=65520
bad maglev-seed 'maglev/hashSeed' -- --set kubeProxyReplacement=true,maglev.hashSeed=abc
bad node-port-range 'nodePort/range' -- --set kubeProxyReplacement=true,nodePort.range=30000
bad node-port-order 'nodePort.range=32767,30000 is no range of ports' -- --set kubeProxyReplacement=true,'nodePort.range=32767\,30000'
bad node-port-bounds 'nodePort.range=30000,70000 is no range of ports' -- --set kubeProxyReplacement=true,'nodePort.range=30000\,70000'
bad node-port-alone 'nodePort.enabled=true cannot be used with kubeProxyReplacement=false' -- --set nodePort.enabled=true
bad host-only-without-sockets 'socketLB.hostNamespaceOnly=true cannot be used with socketLB.enabled=false' -- --set kubeProxyReplacement=true,socketLB.enabled=false,socketLB.hostNamespaceOnly=true
bad no-backend 'serviceNoBackendResponse' -- --set serviceNoBackendResponse=ignore
bad healthz 'kubeProxyReplacementHealthzBindAddr' -- --set kubeProxyReplacement=true,kubeProxyReplacementHealthzBindAddr=here
bad proxy-name 'k8s/serviceProxyName' -- --set kubeProxyReplacement=true,k8s.serviceProxyName=-x
bad map-max 'bpf/lbMapMax' -- --set kubeProxyReplacement=true,bpf.lbMapMax=7
bad cgroup-place 'cgroup/hostRoot' -- --set kubeProxyReplacement=true,cgroup.hostRoot=run
bad cgroup-hidden 'cgroup.hostRoot=/sys/fs/cgroup cannot be used with cgroup.autoMount.enabled=true' -- --set kubeProxyReplacement=true,cgroup.hostRoot=/sys/fs/cgroup
bad geneve 'tunnelProtocol=geneve is not in this version' -- --set tunnelProtocol=geneve
bad eni 'ipam.mode=eni is not in this version' -- --set ipam.mode=eni
bad chaining-aws 'cni.chainingMode=aws-cni is not in this version' -- --set cni.chainingMode=aws-cni
bad no-conntrack-stack 'installNoConntrackIptablesRules=true cannot be used with bpf.hostLegacyRouting=true' -- --set installNoConntrackIptablesRules=true,bpf.hostLegacyRouting=true
bad chaining-tunnel 'cni.chainingMode=flannel cannot be used with routingMode=tunnel' -- --set cni.chainingMode=flannel
bad chaining-pools 'cni.chainingMode=flannel cannot be used with ipam.mode=kubernetes' -- --set cni.chainingMode=flannel,routingMode=native,enableIPv4Masquerade=false,ipam.mode=kubernetes
bad chaining-alone 'cni.chainingMode=generic-veth needs cni.customConf=true' -- --set cni.chainingMode=generic-veth,routingMode=native,enableIPv4Masquerade=false
bad chaining-config 'cni.configMap=mine needs cni.customConf=true' -- --set cni.configMap=mine
bad iptables-masquerade 'bpf.masquerade=false is not possible' -- --set bpf.masquerade=false
bad socket-lb-alone 'socketLB.enabled=true cannot be used with kubeProxyReplacement=false: kube-proxy serves the services.' -- --set socketLB.enabled=true
bad wireguard 'encryption is not in this version' -- --set encryption.enabled=true,encryption.type=wireguard
bad old-tunnel 'tunnel is not in this version: Cilium replaced it in 1.15 by routingMode' -- --set tunnel=vxlan
bad ui-alone 'hubble.ui.enabled=true needs hubble.enabled=true and hubble.relay.enabled=true' -- --set hubble.ui.enabled=true
bad ui-no-certs 'needs hubble.ui.tls.client.existingSecret' -- \
  --set hubble.ui.enabled=true,hubble.relay.enabled=true,hubble.tls.enabled=false,hubble.relay.tls.server.enabled=true,hubble.relay.tls.server.existingSecret=x
bad ui-no-host 'hubble.ui.ingress.enabled=true needs hubble.ui.ingress.hosts' -- --set hubble.ui.enabled=true,hubble.relay.enabled=true,hubble.ui.ingress.enabled=true
bad ui-standalone 'standalone' -- --set hubble.ui.enabled=true,hubble.relay.enabled=true,hubble.ui.standalone.enabled=true
bad ui-base 'baseUrl' -- --set 'hubble.ui.baseUrl=hubble'
bad relay-alone 'hubble.relay.enabled=true needs hubble.enabled=true and a hubble.listenAddress' -- --set hubble.relay.enabled=true,hubble.listenAddress=
bad hubble-cron 'hubble.tls.auto.method=cronJob is not in this version' -- --set hubble.tls.auto.method=cronJob
bad hubble-issuer 'needs hubble.tls.auto.certManagerIssuerRef' -- --set hubble.tls.auto.method=certmanager
bad hubble-no-certs 'hubble.tls.auto.enabled=false needs hubble.tls.server.existingSecret' -- --set hubble.tls.auto.enabled=false
bad relay-no-certs 'needs hubble.relay.tls.client.existingSecret' -- --set hubble.relay.enabled=true,hubble.tls.auto.enabled=false,hubble.tls.server.existingSecret=x
bad relay-no-server-certs 'needs hubble.relay.tls.server.existingSecret' -- --set hubble.relay.enabled=true,hubble.tls.enabled=false,hubble.relay.tls.server.enabled=true
bad hubble-metrics 'hubble/metrics/enabled' -- --set hubble.metrics.enabled=drop
bad hubble-flowlog 'filePath' -- --set hubble.export.dynamic.enabled=true,'hubble.export.dynamic.config.content[0].name=x'
bad relay-buffer 'sortBufferLenMax' -- --set hubble.relay.sortBufferLenMax=0
bad hubble-redact 'hubble.redact.http.headers.allow cannot be used with' -- --set hubble.redact.enabled=true,'hubble.redact.http.headers.deny={a},hubble.redact.http.headers.allow={b}'
bad hubble-history 'maxSizeMb' -- --set hubble.history.maxSizeMb=0
bad metric-name 'prometheus/metrics/0' -- --set 'prometheus.metrics={cilium_version}'
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
render -f profiles/native.yaml -f profiles/dual-stack.yaml --set 'hubble.metrics.enabled={tcp},hubble.export.dynamic.enabled=true' \
  --set hubble.export.static.enabled=true,'hubble.export.static.fieldMask={time},hubble.export.static.allowList={x},hubble.export.static.denyList={x}' \
  --set MTU=1500,devices=eth0,tunnelPort=1,bpf.ctTcpMax=4096,bpf.natMax=4096 \
  --set kubeProxyReplacement=true,kubeProxyReplacementHealthzBindAddr=:10256,socketLB.enabled=true,maglev.tableSize=16381 \
  --set maglev.hashSeed=JLfvgnHc2kaSUFaI,bpf.lbMapMax=65536,k8s.serviceProxyName=blue,ipMasqAgent.enabled=true,kubeProxyReplacementCleanup=true \
  --set localRedirectPolicies.enabled=true,'localRedirectPolicies.addressMatcherCIDRs={169.254.0.0/16}' \
  --set 'prometheus.enabled=true,prometheus.metrics={-cilium_nodes_all_num}' \
  --set 'hubble.history.enabled=true,hubble.dropEventEmitter.enabled=true,hubble.redact.enabled=true,hubble.redact.http.headers.deny={a}'
keys=$(awk '/^kind: ConfigMap/{on=1} on&&/^data:/{data=1;next} data&&/^---/{exit} data&&/^  [a-z0-9-]+:/{sub(":.*","");print $1}' "$out" | sort -u)
for key in $keys; do
  case $key in
  enable-bpf-masquerade | identity-allocation-mode | cluster-id) continue ;;
  esac
  if grep -rqF "\"$key\"" ../../bin/agent/src ../../bin/operator/src; then ok; else : >"$out"; fail "ConfigMap key $key: neither agent nor operator reads it"; fi
done

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
