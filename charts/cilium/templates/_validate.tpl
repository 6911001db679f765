{{/*
What the schema cannot say: values that contradict each other, and Cilium values for what this version does not do.
Every text names the value, the reason and the cure.
*/}}
{{- define "cilium.validate" -}}
{{- include "cilium.validate.notYet" . -}}
{{- include "cilium.validate.choices" . -}}
{{- include "cilium.validate.families" . -}}
{{- include "cilium.validate.chaining" . -}}
{{- include "cilium.validate.routing" . -}}
{{- include "cilium.validate.services" . -}}
{{- include "cilium.validate.pools" . -}}
{{- include "cilium.validate.operator" . -}}
{{- include "cilium.validate.hubble" . -}}
{{- include "cilium.validate.ui" . -}}
{{- include "cilium.validate.monitors" . -}}
{{- end -}}

{{- define "cilium.validate.monitors" -}}
{{- $v := .Values -}}
{{- $known := .Capabilities.APIVersions.Has "monitoring.coreos.com/v1" -}}
{{- $sets := dict "prometheus" $v.prometheus "operator.prometheus" $v.operator.prometheus "hubble.metrics" $v.hubble.metrics "hubble.relay.prometheus" $v.hubble.relay.prometheus -}}
{{- range $name, $set := $sets -}}
  {{- if $set.serviceMonitor.enabled -}}
    {{- if not $set.enabled -}}
      {{- fail (printf "%s.serviceMonitor.enabled=true needs %s.enabled: there are no metrics to find." $name $name) -}}
    {{- end -}}
    {{- if not (or $known $set.serviceMonitor.trustCRDsExist) -}}
      {{- fail (printf "%s.serviceMonitor.enabled=true needs the kind ServiceMonitor of monitoring.coreos.com/v1, which this cluster does not know: install the operator for Prometheus first, or set %s.serviceMonitor.trustCRDsExist=true if it comes with it." $name $name) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* Fails with a sentence of files/refusals.yaml, which the agent has, too; argument: list of root, key, and what to fill in. */}}
{{- define "cilium.refuse" -}}
{{- $text := get ((index . 0).Files.Get "files/refusals.yaml" | fromYaml) (index . 1) -}}
{{- range $name, $value := index . 2 -}}
  {{- $text = $text | replace (printf "{%s}" $name) $value -}}
{{- end -}}
{{- fail $text -}}
{{- end -}}

{{- define "cilium.validate.hubble" -}}
{{- $h := .Values.hubble -}}
{{- if and $h.redact.enabled $h.redact.http.headers.allow $h.redact.http.headers.deny -}}
  {{- fail "hubble.redact.http.headers.allow cannot be used with hubble.redact.http.headers.deny: a header is hidden by one list or the other." -}}
{{- end -}}
{{- if eq $h.tls.auto.method "cronJob" -}}
  {{- fail "hubble.tls.auto.method=cronJob is not in this version: use helm or certmanager." -}}
{{- end -}}
{{- if and (include "hubble.tls.by" (list . "certmanager")) (not $h.tls.auto.certManagerIssuerRef.name) -}}
  {{- fail "hubble.tls.auto.method=certmanager needs hubble.tls.auto.certManagerIssuerRef: name the issuer that signs, with group and kind." -}}
{{- end -}}
{{- if and (include "hubble.tls" .) (not $h.tls.auto.enabled) (not $h.tls.server.existingSecret) -}}
  {{- fail "hubble.tls.auto.enabled=false needs hubble.tls.server.existingSecret: a secret with ca.crt, tls.crt and tls.key. Or set hubble.tls.enabled=false to serve flows in plain text, or hubble.listenAddress=\"\" to serve them on the unix socket alone." -}}
{{- end -}}
{{- if $h.relay.enabled -}}
  {{- if not (and $h.enabled $h.listenAddress) -}}
    {{- fail "hubble.relay.enabled=true needs hubble.enabled=true and a hubble.listenAddress such as \":4244\": the relay asks agents there." -}}
  {{- end -}}
  {{- if and (include "hubble.tls" .) (not $h.tls.auto.enabled) (not $h.relay.tls.client.existingSecret) -}}
    {{- fail "hubble.tls.auto.enabled=false needs hubble.relay.tls.client.existingSecret: without a certificate agents do not answer the relay." -}}
  {{- end -}}
  {{- if and $h.relay.tls.server.enabled (not (and (include "hubble.tls" .) $h.tls.auto.enabled)) (not $h.relay.tls.server.existingSecret) -}}
    {{- fail "hubble.relay.tls.server.enabled=true needs hubble.relay.tls.server.existingSecret where the chart makes no certificates (hubble.tls.enabled, hubble.tls.auto.enabled)." -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{- define "cilium.validate.ui" -}}
{{- $h := .Values.hubble -}}
{{- if $h.ui.enabled -}}
  {{- if not (and $h.enabled $h.relay.enabled) -}}
    {{- fail "hubble.ui.enabled=true needs hubble.enabled=true and hubble.relay.enabled=true: the page shows the flows that the relay hands out." -}}
  {{- end -}}
  {{- if and $h.relay.tls.server.enabled (not (and (include "hubble.tls" .) $h.tls.auto.enabled)) (not $h.ui.tls.client.existingSecret) -}}
    {{- fail "hubble.relay.tls.server.enabled=true needs hubble.ui.tls.client.existingSecret where the chart makes no certificates (hubble.tls.enabled, hubble.tls.auto.enabled)." -}}
  {{- end -}}
  {{- if and $h.ui.ingress.enabled (empty $h.ui.ingress.hosts) -}}
    {{- fail "hubble.ui.ingress.enabled=true needs hubble.ui.ingress.hosts: without a name the page would be everybody's." -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* Cilium's values for features that are not here. Switched off they are accepted, as that is how things are. */}}
{{- define "cilium.validate.notYet" -}}
{{- $features := .Files.Get "files/not-in-this-version.yaml" | fromYaml -}}
{{- range $key, $text := $features -}}
  {{- if hasKey $.Values $key -}}
    {{- include "cilium.validate.off" (list $key (index $.Values $key) $text) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* Fails unless a value is off: empty, false, or a map that says enabled: false; argument: list of name, value, text. */}}
{{- define "cilium.validate.off" -}}
{{- $value := index . 1 -}}
{{- $on := not (empty $value) -}}
{{- if kindIs "map" $value -}}
  {{- $enabled := get $value "enabled" -}}
  {{- $on = and (not (empty $value)) (not (and (hasKey $value "enabled") (or (empty $enabled) (eq (toString $enabled) "false")))) -}}
{{- else if kindIs "string" $value -}}
  {{- $on = not (has $value (list "" "false" "disabled")) -}}
{{- end -}}
{{- if $on -}}
  {{- fail (printf "%s is not in this version: %s Remove the value, or switch it off." (index . 0) (index . 2)) -}}
{{- end -}}
{{- end -}}

{{/* Values of which Cilium knows more than this version does. */}}
{{- define "cilium.validate.choices" -}}
{{- $v := .Values -}}
{{- if not (has $v.ipam.mode (list "cluster-pool" "kubernetes")) -}}
  {{- fail (printf "ipam.mode=%s is not in this version: use cluster-pool (the operator gives each node pod CIDRs) or kubernetes (nodes use Node.spec.podCIDRs)." $v.ipam.mode) -}}
{{- end -}}
{{- if ne $v.tunnelProtocol "vxlan" -}}
  {{- fail (printf "tunnelProtocol=%s is not in this version: use vxlan." $v.tunnelProtocol) -}}
{{- end -}}
{{- if not $v.bpf.masquerade -}}
  {{- fail "bpf.masquerade=false is not possible: masquerading is always done in BPF. To have none at all set enableIPv4Masquerade=false and enableIPv6Masquerade=false." -}}
{{- end -}}
{{- end -}}

{{- define "cilium.validate.chaining" -}}
{{- $v := .Values -}}
{{- $mode := $v.cni.chainingMode -}}
{{- if eq $mode "aws-cni" -}}
  {{- fail "cni.chainingMode=aws-cni is not in this version: use generic-veth with cni.customConf=true and the AWS plugin in cni.configMap." -}}
{{- end -}}
{{- if and $v.cni.configMap (not $v.cni.customConf) -}}
  {{- fail (printf "cni.configMap=%s needs cni.customConf=true: without it the agent writes a configuration of its own." $v.cni.configMap) -}}
{{- end -}}
{{- if and (eq $mode "generic-veth") (not $v.cni.customConf) -}}
  {{- include "cilium.refuse" (list . "chain-config" dict) -}}
{{- end -}}
{{- if has $mode (list "generic-veth" "flannel") -}}
  {{- if ne $v.routingMode "native" -}}
    {{- include "cilium.refuse" (list . "chain-routing" (dict "mode" $mode)) -}}
  {{- end -}}
  {{- if eq $v.ipam.mode "kubernetes" -}}
    {{- include "cilium.refuse" (list . "chain-ipam" (dict "mode" $mode)) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{- define "cilium.validate.families" -}}
{{- if not (or .Values.ipv4.enabled .Values.ipv6.enabled) -}}
  {{- include "cilium.refuse" (list . "families" dict) -}}
{{- end -}}
{{- end -}}

{{- define "cilium.validate.routing" -}}
{{- $v := .Values -}}
{{- if eq $v.routingMode "native" -}}
  {{- range $family := list "4" "6" -}}
    {{- $enabled := index $v (printf "ipv%s" $family) "enabled" -}}
    {{- $masquerade := index $v (printf "enableIPv%sMasquerade" $family) -}}
    {{- $cidr := printf "ipv%sNativeRoutingCIDR" $family -}}
    {{- if and $enabled $masquerade (not (index $v $cidr)) (not $v.ipMasqAgent.enabled) -}}
      {{- include "cilium.refuse" (list $ "native-cidr" (dict "family" $family "ipam" $v.ipam.mode)) -}}
    {{- end -}}
  {{- end -}}
{{- else if $v.autoDirectNodeRoutes -}}
  {{- include "cilium.refuse" (list . "direct-routes" dict) -}}
{{- end -}}
{{- if and $v.installNoConntrackIptablesRules (or $v.bpf.hostLegacyRouting (has $v.cni.chainingMode (list "flannel" "generic-veth"))) -}}
  {{- fail "installNoConntrackIptablesRules=true cannot be used with bpf.hostLegacyRouting=true, or behind another plugin (cni.chainingMode): there pods' packets take the node's IP stack, whose rules are left alone. Elsewhere they pass it by without such rules. Set installNoConntrackIptablesRules=false." -}}
{{- end -}}
{{- if and $v.ipMasqAgent.enabled (not (and $v.ipv4.enabled $v.enableIPv4Masquerade)) (not (and $v.ipv6.enabled $v.enableIPv6Masquerade)) -}}
  {{- include "cilium.refuse" (list . "ip-masq-agent" dict) -}}
{{- end -}}
{{- end -}}

{{/* What would mean nothing with kubeProxyReplacement=false is let be, so that one value can be switched back and forth. */}}
{{- define "cilium.validate.services" -}}
{{- $v := .Values -}}
{{- if and (ne $v.loadBalancer.mode "snat") (ne $v.routingMode "native") -}}
  {{- include "cilium.refuse" (list . "load-balancer-mode" (dict "mode" $v.loadBalancer.mode "routing" $v.routingMode)) -}}
{{- end -}}
{{- $ports := regexFindAll "[0-9]+" $v.nodePort.range -1 -}}
{{- $first := index $ports 0 | int -}}
{{- $last := index $ports 1 | int -}}
{{- if or (lt $first 1) (lt $last $first) (gt $last 65535) -}}
  {{- fail (printf "nodePort.range=%s is no range of ports: give the first and the last, such as \"30000,32767\"." $v.nodePort.range) -}}
{{- end -}}
{{- if not (include "cilium.kubeProxyReplacement" .) -}}
  {{- range $name, $on := dict "socketLB.enabled" $v.socketLB.enabled "nodePort.enabled" $v.nodePort.enabled -}}
    {{- if $on -}}
      {{- fail (printf "%s=true cannot be used with kubeProxyReplacement=false: kube-proxy serves the services. Set kubeProxyReplacement=true and end kube-proxy, or %s=false." $name $name) -}}
    {{- end -}}
  {{- end -}}
{{- else if and $v.socketLB.hostNamespaceOnly (eq (toString $v.socketLB.enabled) "false") -}}
  {{- fail "socketLB.hostNamespaceOnly=true cannot be used with socketLB.enabled=false: without socket translation there is none to confine to the nodes. Set socketLB.enabled=true, or socketLB.hostNamespaceOnly=false." -}}
{{- end -}}
{{- if and $v.cgroup.autoMount.enabled (hasPrefix "/sys/" $v.cgroup.hostRoot) -}}
  {{- fail (printf "cgroup.hostRoot=%s cannot be used with cgroup.autoMount.enabled=true: a mount there would hide the node's own. Set cgroup.autoMount.enabled=false if nodes have cgroup v2 at that place, or leave cgroup.hostRoot at /run/cilium/cgroupv2." $v.cgroup.hostRoot) -}}
{{- end -}}
{{- end -}}

{{- define "cilium.validate.pools" -}}
{{- $v := .Values -}}
{{- if eq $v.ipam.mode "cluster-pool" -}}
  {{- range $family := list "4" "6" -}}
    {{- if index $v (printf "ipv%s" $family) "enabled" -}}
      {{- $list := printf "clusterPoolIPv%sPodCIDRList" $family -}}
      {{- $size := printf "clusterPoolIPv%sMaskSize" $family -}}
      {{- $cidrs := index $v.ipam.operator $list -}}
      {{- $mask := int (index $v.ipam.operator $size) -}}
      {{- if not $cidrs -}}
        {{- fail (printf "ipam.operator.%s is empty: with ipam.mode=cluster-pool and ipv%s.enabled=true nodes need a range to take pod addresses from." $list $family) -}}
      {{- end -}}
      {{- range $cidr := $cidrs -}}
        {{- $length := regexFind "[0-9]+$" $cidr | int -}}
        {{- if lt $mask $length -}}
          {{- fail (printf "ipam.operator.%s=%d is larger than the pool %s: a node's block cannot be larger than the pool it is cut from. Use a mask size from %d on, or a larger pool." $size $mask $cidr $length) -}}
        {{- end -}}
      {{- end -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{- define "cilium.validate.operator" -}}
{{- $v := .Values -}}
{{- if and (eq (include "cilium.setNodeTaints" .) "true") (not $v.operator.removeNodeTaints) -}}
  {{- fail "operator.setNodeTaints=true with operator.removeNodeTaints=false would keep pods off every node for ever: set both or none." -}}
{{- end -}}
{{- if and (not $v.operator.enabled) (eq $v.ipam.mode "cluster-pool") -}}
  {{- fail "operator.enabled=false with ipam.mode=cluster-pool: nobody would give nodes their pod CIDRs. Set operator.enabled=true, or ipam.mode=kubernetes." -}}
{{- end -}}
{{- if and (ne (int $v.cluster.id) 0) (eq $v.cluster.name "default") -}}
  {{- fail (printf "cluster.id=%d needs a cluster.name other than \"default\": identities of several clusters are told apart by it." (int $v.cluster.id)) -}}
{{- end -}}
{{- range $what, $image := dict "image" $v.image "operator.image" $v.operator.image -}}
  {{- if and $image.useDigest (not $image.digest) -}}
    {{- fail (printf "%s.useDigest=true needs %s.digest." $what $what) -}}
  {{- end -}}
{{- end -}}
{{- end -}}
