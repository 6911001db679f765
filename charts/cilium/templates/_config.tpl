{{- define "cilium.baseConfig" -}}
{{- $v := .Values -}}
debug: {{ $v.debug.enabled | quote }}
cluster-name: {{ $v.cluster.name | quote }}
cluster-id: {{ $v.cluster.id | quote }}
identity-allocation-mode: crd
agent-health-port: {{ $v.healthPort | quote }}
{{- if $v.prometheus.enabled }}
prometheus-serve-addr: {{ printf ":%d" (int $v.prometheus.port) | quote }}
{{- with $v.prometheus.metrics }}
metrics: {{ join " " . | quote }}
{{- end }}
{{- end }}
enable-health-checking: {{ $v.healthChecking | quote }}

enable-ipv4: {{ $v.ipv4.enabled | quote }}
enable-ipv6: {{ $v.ipv6.enabled | quote }}
ipam: {{ $v.ipam.mode | quote }}
{{- if eq $v.ipam.mode "cluster-pool" }}
{{- if $v.ipv4.enabled }}
cluster-pool-ipv4-cidr: {{ join " " $v.ipam.operator.clusterPoolIPv4PodCIDRList | quote }}
cluster-pool-ipv4-mask-size: {{ $v.ipam.operator.clusterPoolIPv4MaskSize | quote }}
{{- end }}
{{- if $v.ipv6.enabled }}
cluster-pool-ipv6-cidr: {{ join " " $v.ipam.operator.clusterPoolIPv6PodCIDRList | quote }}
cluster-pool-ipv6-mask-size: {{ $v.ipam.operator.clusterPoolIPv6MaskSize | quote }}
{{- end }}
{{- end }}

routing-mode: {{ $v.routingMode | quote }}
tunnel-protocol: {{ $v.tunnelProtocol | quote }}
{{- if $v.tunnelPort }}
tunnel-port: {{ $v.tunnelPort | quote }}
{{- end }}
auto-direct-node-routes: {{ $v.autoDirectNodeRoutes | quote }}
{{- with $v.ipv4NativeRoutingCIDR }}
ipv4-native-routing-cidr: {{ . | quote }}
{{- end }}
{{- with $v.ipv6NativeRoutingCIDR }}
ipv6-native-routing-cidr: {{ . | quote }}
{{- end }}
enable-ipv4-masquerade: {{ $v.enableIPv4Masquerade | quote }}
enable-ipv6-masquerade: {{ $v.enableIPv6Masquerade | quote }}
enable-bpf-masquerade: "true"
{{- if $v.ipMasqAgent.enabled }}
enable-ip-masq-agent: "true"
{{- end }}
{{- if $v.MTU }}
mtu: {{ $v.MTU | quote }}
{{- end }}
{{- with $v.devices }}
devices: {{ kindIs "slice" . | ternary . (list .) | join " " | quote }}
{{- end }}
{{ include "cilium.serviceConfig" . }}
{{- if include "cilium.localRedirectPolicies" . }}
enable-local-redirect-policy: "true"
{{- with $v.localRedirectPolicies.addressMatcherCIDRs }}
lrp-address-matcher-cidrs: {{ join "," . | quote }}
{{- end }}
{{- end }}

bpf-root: {{ $v.bpf.root | quote }}
monitor-aggregation: {{ $v.bpf.monitorAggregation | quote }}
{{- with $v.bpf.ctTcpMax }}
bpf-ct-global-tcp-max: {{ int64 . | quote }}
{{- end }}
{{- with $v.bpf.natMax }}
bpf-nat-global-max: {{ int64 . | quote }}
{{- end }}
{{- with $v.bpf.policyMapMax }}
bpf-policy-map-max: {{ int64 . | quote }}
{{- end }}

enable-policy: {{ $v.policyEnforcementMode | quote }}
policy-audit-mode: {{ $v.policyAuditMode | quote }}
{{- with $v.policyCIDRMatchMode }}
policy-cidr-match-mode: {{ kindIs "slice" . | ternary (join " " (kindIs "slice" . | ternary . list)) . | quote }}
{{- end }}
enable-node-selector-labels: {{ $v.nodeSelectorLabels | quote }}
enable-k8s-cluster-network-policy: {{ $v.k8sClusterNetworkPolicy.enabled | quote }}
enable-k8s-networkpolicy: {{ $v.k8sNetworkPolicy.enabled | quote }}
enable-host-firewall: {{ $v.hostFirewall.enabled | quote }}
policy-deny-response: {{ $v.policyDenyResponse | quote }}
enable-source-ip-verification: {{ $v.daemon.enableSourceIPVerification | quote }}

cni-chaining-mode: {{ $v.cni.chainingMode | quote }}
enable-host-legacy-routing: {{ $v.bpf.hostLegacyRouting | quote }}
{{- if $v.cni.configMap }}
read-cni-conf: {{ printf "/tmp/cni-configuration/%s" $v.cni.configMapKey | quote }}
{{- end }}
cni-exclusive: {{ $v.cni.exclusive | quote }}
cni-log-file: {{ $v.cni.logFile | quote }}
{{- /* The folder has the same path inside the container; null would leave the agent's default in force. */}}
cni-conf-dir: {{ $v.cni.confPath | quote }}
write-cni-conf-when-ready: {{ and $v.cni.install (or (not $v.cni.customConf) (ne $v.cni.configMap "")) | ternary (printf "%s/05-cilium.conflist" (trimSuffix "/" $v.cni.confPath)) "" | quote }}

enable-hubble: {{ $v.hubble.enabled | quote }}
{{- if $v.hubble.enabled }}
hubble-socket-path: {{ $v.hubble.socketPath | quote }}
hubble-event-buffer-capacity: {{ $v.hubble.eventBufferCapacity | quote }}
{{- if $v.hubble.listenAddress }}
hubble-listen-address: {{ $v.hubble.listenAddress | quote }}
hubble-disable-tls: {{ not $v.hubble.tls.enabled | quote }}
{{- if $v.hubble.tls.enabled }}
hubble-tls-cert-file: /var/lib/cilium/tls/hubble/server.crt
hubble-tls-key-file: /var/lib/cilium/tls/hubble/server.key
hubble-tls-client-ca-files: /var/lib/cilium/tls/hubble/client-ca.crt
{{- end }}
{{- end }}
{{- with $v.hubble.metrics.enabled }}
hubble-metrics-server: {{ printf ":%d" (int $v.hubble.metrics.port) | quote }}
hubble-metrics: {{ join " " . | quote }}
enable-hubble-open-metrics: {{ $v.hubble.metrics.enableOpenMetrics | quote }}
{{- end }}
{{- with $v.hubble.export.static }}
{{- if .enabled }}
hubble-export-file-path: {{ .filePath | quote }}
hubble-export-file-max-size-mb: {{ int .fileMaxSizeMb | quote }}
hubble-export-file-max-backups: {{ int .fileMaxBackups | quote }}
{{- with .fieldMask }}
hubble-export-fieldmask: {{ join " " . | quote }}
{{- end }}
{{- with .allowList }}
hubble-export-allowlist: {{ join "," . | quote }}
{{- end }}
{{- with .denyList }}
hubble-export-denylist: {{ join "," . | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- with $v.hubble.history }}
{{- if .enabled }}
hubble-history-path: {{ .path | quote }}
hubble-history-max-size-mb: {{ int .maxSizeMb | quote }}
{{- end }}
{{- end }}
{{- with $v.hubble.dropEventEmitter }}
{{- if .enabled }}
hubble-drop-events: "true"
hubble-drop-events-interval: {{ .interval | quote }}
hubble-drop-events-reasons: {{ join "," .reasons | quote }}
{{- end }}
{{- end }}
{{- with $v.hubble.redact }}
{{- if .enabled }}
hubble-redact-enabled: "true"
hubble-redact-http-urlquery: {{ .http.urlQuery | quote }}
hubble-redact-http-userinfo: {{ .http.userInfo | quote }}
hubble-redact-kafka-apikey: {{ .kafka.apiKey | quote }}
{{- with .http.headers.allow }}
hubble-redact-http-headers-allow: {{ join "," . | quote }}
{{- end }}
{{- with .http.headers.deny }}
hubble-redact-http-headers-deny: {{ join "," . | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- if $v.hubble.export.dynamic.enabled }}
hubble-flowlogs-config-path: /flowlog-config/flowlogs.yaml
{{- end }}
{{- end }}

operator-api-serve-addr: {{ $v.ipv4.enabled | ternary "127.0.0.1:9234" "[::1]:9234" | quote }}
{{- if $v.operator.prometheus.enabled }}
enable-metrics: "true"
operator-prometheus-serve-addr: {{ printf ":%d" (int $v.operator.prometheus.port) | quote }}
{{- end }}
identity-gc-interval: {{ $v.operator.identityGCInterval | quote }}
identity-heartbeat-timeout: {{ $v.operator.identityHeartbeatTimeout | quote }}
cilium-endpoint-gc-interval: {{ $v.operator.endpointGCInterval | quote }}
nodes-gc-interval: {{ $v.operator.nodeGCInterval | quote }}
skip-crd-creation: {{ $v.operator.skipCRDCreation | quote }}
agent-not-ready-taint-key: {{ $v.agentNotReadyTaintKey | quote }}
remove-cilium-node-taints: {{ $v.operator.removeNodeTaints | quote }}
set-cilium-node-taints: {{ include "cilium.setNodeTaints" . | quote }}
set-cilium-is-up-condition: {{ $v.operator.setNodeNetworkStatus | quote }}
unmanaged-pod-watcher-interval: {{ $v.operator.unmanagedPodWatcher.restart | ternary (printf "%ds" (int $v.operator.unmanagedPodWatcher.intervalSeconds)) "0s" | quote }}
pod-restart-selector: {{ default "k8s-app=kube-dns" $v.operator.unmanagedPodWatcher.selector | quote }}
{{- end -}}

{{- define "cilium.serviceConfig" -}}
{{- $v := .Values -}}
kube-proxy-replacement: {{ include "cilium.kubeProxyReplacement" . | default "false" | quote }}
{{- if include "cilium.kubeProxyReplacement" . }}
{{- if $v.kubeProxyReplacementCleanup }}
cleanup-kube-proxy: "true"
{{- end }}
{{- with $v.kubeProxyReplacementHealthzBindAddr }}
kube-proxy-replacement-healthz-bind-address: {{ . | quote }}
{{- end }}
{{- if not (kindIs "invalid" $v.socketLB.enabled) }}
bpf-lb-sock: {{ $v.socketLB.enabled | quote }}
{{- end }}
bpf-lb-sock-hostns-only: {{ $v.socketLB.hostNamespaceOnly | quote }}
bpf-lb-algorithm: {{ $v.loadBalancer.algorithm | quote }}
bpf-lb-acceleration: {{ $v.loadBalancer.acceleration | quote }}
bpf-lb-mode: {{ $v.loadBalancer.mode | quote }}
enable-service-topology: {{ $v.loadBalancer.serviceTopology | quote }}
{{- with $v.maglev.tableSize }}
bpf-lb-maglev-table-size: {{ int64 . | quote }}
{{- end }}
{{- with $v.maglev.hashSeed }}
bpf-lb-maglev-hash-seed: {{ . | quote }}
{{- end }}
{{- with $v.bpf.lbMapMax }}
bpf-lb-map-max: {{ int64 . | quote }}
{{- end }}
bpf-lb-external-clusterip: {{ $v.bpf.lbExternalClusterIP | quote }}
bpf-lb-source-range-all-types: {{ $v.bpf.lbSourceRangeAllTypes | quote }}
node-port-range: {{ $v.nodePort.range | quote }}
node-port-bind-protection: {{ $v.nodePort.bindProtection | quote }}
enable-health-check-nodeport: {{ $v.nodePort.enableHealthCheck | quote }}
service-no-backend-response: {{ $v.serviceNoBackendResponse | quote }}
{{- with $v.k8s.serviceProxyName }}
k8s-service-proxy-name: {{ . | quote }}
{{- end }}
{{- /* Inside the container; cgroup.hostRoot is the node's. */}}
cgroup-root: {{ include "cilium.cgroupRoot" . }}
{{- end }}
{{- end -}}
