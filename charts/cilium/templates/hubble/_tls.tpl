{{/* "true" if flows are served on TCP with certificates. */}}
{{- define "hubble.tls" -}}
{{- if and .Values.hubble.enabled .Values.hubble.listenAddress .Values.hubble.tls.enabled -}}true{{- end -}}
{{- end -}}

{{/* "true" if this chart makes certificates by the method; argument: list of root and method. */}}
{{- define "hubble.tls.by" -}}
{{- $root := index . 0 -}}
{{- if and (include "hubble.tls" $root) $root.Values.hubble.tls.auto.enabled (eq $root.Values.hubble.tls.auto.method (index . 1)) -}}true{{- end -}}
{{- end -}}

{{- define "hubble.relay" -}}
{{- if and .Values.hubble.enabled .Values.hubble.relay.enabled -}}true{{- end -}}
{{- end -}}

{{/* The domain below which nodes have their names in certificates; dots of the cluster's name would add levels. */}}
{{- define "hubble.tls.domain" -}}
{{- printf "%s.hubble-grpc.cilium.io" (.Values.cluster.name | replace "." "-") -}}
{{- end -}}

{{- define "hubble.serverSecret" -}}
{{- default "hubble-server-certs" .Values.hubble.tls.server.existingSecret -}}
{{- end -}}
{{- define "hubble.relayClientSecret" -}}
{{- default "hubble-relay-client-certs" .Values.hubble.relay.tls.client.existingSecret -}}
{{- end -}}
{{- define "hubble.relayServerSecret" -}}
{{- default "hubble-relay-server-certs" .Values.hubble.relay.tls.server.existingSecret -}}
{{- end -}}

{{- define "hubble.relayLabels" -}}
{{- include "cilium.labels" (list . (dict "k8s-app" "hubble-relay" "app.kubernetes.io/name" "hubble-relay")) -}}
{{- end -}}

{{- define "hubble.ui" -}}
{{- if and (include "hubble.relay" .) .Values.hubble.ui.enabled -}}true{{- end -}}
{{- end -}}

{{- define "hubble.uiClientSecret" -}}
{{- default "hubble-ui-client-certs" .Values.hubble.ui.tls.client.existingSecret -}}
{{- end -}}

{{- define "hubble.uiLabels" -}}
{{- include "cilium.labels" (list . (dict "k8s-app" "hubble-ui" "app.kubernetes.io/name" "hubble-ui")) -}}
{{- end -}}

{{/* A secret with a certificate; argument: dict with root, name, ca, cert. */}}
{{- define "hubble.secret" -}}
apiVersion: v1
kind: Secret
metadata:
  name: {{ .name }}
  namespace: {{ include "cilium.namespace" .root }}
  labels:
    {{- include "cilium.labels" (list .root (dict)) | nindent 4 }}
type: kubernetes.io/tls
data:
  ca.crt: {{ .ca | b64enc }}
  tls.crt: {{ .cert | b64enc }}
  tls.key: {{ .key | b64enc }}
{{- end -}}

{{/* The port of the service hubble-peer. */}}
{{- define "hubble.peerPort" -}}
{{- if include "hubble.tls" . -}}443{{- else -}}80{{- end -}}
{{- end -}}
