{{/* Init containers of the agent's pod. The image holds a shell (busybox) for them, see README.md. */}}
{{- define "cilium.agent.initContainers" -}}
{{- $v := .Values -}}
{{- if and $v.bpf.autoMount.enabled (not $v.securityContext.privileged) }}
# The only privileged container: mounts the BPF file system on a node that has none, and ends.
- name: mount-bpf-fs
  image: {{ include "cilium.image" (list . $v.image) | quote }}
  imagePullPolicy: {{ $v.image.pullPolicy }}
  command:
    - sh
    - -c
    - 'grep -q " {{ $v.bpf.root }} bpf " /proc/mounts || mount -t bpf bpf {{ $v.bpf.root }}'
  securityContext:
    privileged: true
  terminationMessagePolicy: FallbackToLogsOnError
  {{- with $v.initResources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    - name: bpf-maps
      mountPath: {{ $v.bpf.root }}
      mountPropagation: Bidirectional
{{- end }}
{{- if $v.cni.install }}
# Copies the plugin to the node; the rename keeps a plugin that runs just now whole.
- name: install-cni-binaries
  image: {{ include "cilium.image" (list . $v.image) | quote }}
  imagePullPolicy: {{ $v.image.pullPolicy }}
  command:
    - sh
    - -ec
    - |
      cp -f /opt/cni/bin/cilium-cni /host/opt/cni/bin/.cilium-cni.new
      mv -f /host/opt/cni/bin/.cilium-cni.new /host/opt/cni/bin/cilium-cni
  securityContext:
    allowPrivilegeEscalation: false
    {{- with $v.securityContext.seLinuxOptions }}
    seLinuxOptions:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    capabilities:
      drop: [ALL]
      # The folder belongs to another user where plugins were unpacked with their archive's owner.
      add: [DAC_OVERRIDE]
  terminationMessagePolicy: FallbackToLogsOnError
  {{- with $v.cni.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    - name: cni-path
      mountPath: /host/opt/cni/bin
{{- end }}
{{- end -}}

{{- define "cilium.agent.volumes" -}}
{{- $v := .Values -}}
- name: cilium-config-path
  configMap:
    name: cilium-config
- name: bpf-maps
  hostPath:
    path: {{ $v.bpf.root }}
    type: DirectoryOrCreate
- name: cilium-run
  hostPath:
    path: {{ $v.daemon.runPath }}
    type: DirectoryOrCreate
- name: cilium-netns
  hostPath:
    path: /var/run/netns
    type: DirectoryOrCreate
{{- if $v.cni.install }}
- name: cni-path
  hostPath:
    path: {{ $v.cni.binPath }}
    type: DirectoryOrCreate
- name: etc-cni-netd
  hostPath:
    path: {{ $v.cni.confPath }}
    type: DirectoryOrCreate
{{- end }}
{{- if not $v.securityContext.privileged }}
- name: host-proc-sys-net
  hostPath:
    path: /proc/sys/net
    type: Directory
{{- end }}
{{- with $v.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
