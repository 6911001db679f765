{{/* The namespace of every namespaced object. */}}
{{- define "cilium.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{/* An image reference from a map {override, repository, tag, digest, useDigest}; argument: list of root and map. */}}
{{- define "cilium.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- if $image.override -}}
{{- $image.override -}}
{{- else -}}
{{- $image.repository }}:{{ default $root.Chart.AppVersion $image.tag }}{{ if $image.useDigest }}@{{ $image.digest }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* Where the loopback address listens; IPv6-only nodes may have no 127.0.0.1. */}}
{{- define "cilium.loopback" -}}
{{- .Values.ipv4.enabled | ternary "127.0.0.1" "::1" -}}
{{- end -}}

{{/* Labels of an object; argument: list of root and a map of its own labels. */}}
{{- define "cilium.labels" -}}
{{- $root := index . 0 -}}
{{- toYaml (merge (dict "app.kubernetes.io/part-of" "cilium") (index . 1) $root.Values.commonLabels) -}}
{{- end -}}

{{- define "cilium.agentLabels" -}}
{{- include "cilium.labels" (list . (dict "k8s-app" "cilium" "app.kubernetes.io/name" "cilium-agent")) -}}
{{- end -}}

{{- define "cilium.operatorLabels" -}}
{{- include "cilium.labels" (list . (dict "io.cilium/app" "operator" "name" "cilium-operator" "app.kubernetes.io/name" "cilium-operator")) -}}
{{- end -}}

{{/* Environment that agent and operator share. */}}
{{- define "cilium.env" -}}
- name: K8S_NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
- name: CILIUM_K8S_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
{{- if .Values.k8sServiceHost }}
- name: KUBERNETES_SERVICE_HOST
  value: {{ .Values.k8sServiceHost | quote }}
{{- end }}
{{- if .Values.k8sServicePort }}
- name: KUBERNETES_SERVICE_PORT
  value: {{ .Values.k8sServicePort | toString | quote }}
{{- end }}
{{- end -}}

{{/* What a probe of a /healthz on the loopback address asks; argument: list of root and port. */}}
{{- define "cilium.healthz" -}}
httpGet:
  host: {{ include "cilium.loopback" (index . 0) | quote }}
  path: /healthz
  port: {{ index . 1 }}
  scheme: HTTP
  httpHeaders:
    - name: brief
      value: "true"
{{- end -}}

{{/* Whether the operator sets the taint: as told, or else whenever it removes it. */}}
{{- define "cilium.setNodeTaints" -}}
{{- kindIs "invalid" .Values.operator.setNodeTaints | ternary .Values.operator.removeNodeTaints .Values.operator.setNodeTaints -}}
{{- end -}}

{{/* "true" if the agent serves Services. */}}
{{- define "cilium.kubeProxyReplacement" -}}
{{- if eq (toString .Values.kubeProxyReplacement) "true" -}}true{{- end -}}
{{- end -}}

{{/* Where the agent's container has the node's cgroup v2 hierarchy. */}}
{{- define "cilium.cgroupRoot" -}}
/run/cilium/cgroupv2
{{- end -}}

{{/* "true" for Kubernetes before 1.30. Not semverCompare: builds from source have versions that are none. */}}
{{- define "cilium.before130" -}}
{{- if regexMatch "^v?1\\.(1?[0-9]|2[0-9])([^0-9]|$)" .Capabilities.KubeVersion.Version -}}true{{- end -}}
{{- end -}}

{{/* "true" if a duration such as "5m0s" is not zero. */}}
{{- define "cilium.isDuration" -}}
{{- if regexMatch "[1-9]" (toString .) -}}true{{- end -}}
{{- end -}}

{{/* The data of the ConfigMap cilium-config, extraConfig last. Keys are Cilium's; README.md lists their readers. */}}
{{- define "cilium.config" -}}
{{- $config := include "cilium.baseConfig" . | fromYaml -}}
{{- range $key, $value := .Values.extraConfig -}}
{{- $_ := set $config $key (toString $value) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{/* Whether local redirect policies are followed: "true" or nothing. */}}
{{- define "cilium.localRedirectPolicies" -}}
{{- if or .Values.localRedirectPolicies.enabled .Values.localRedirectPolicy }}true{{ end -}}
{{- end -}}
