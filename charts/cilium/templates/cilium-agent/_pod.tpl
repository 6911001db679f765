{{/* Init containers of the agent's pod. The image holds a shell (busybox) for them, see README.md. */}}
{{- define "cilium.agent.initContainers" -}}
{{- $v := .Values -}}
{{- if and (include "cilium.kubeProxyReplacement" .) $v.cgroup.autoMount.enabled }}
# Privileged, and ends: shows the node's cgroup v2 hierarchy at a place of our own.
- name: mount-cgroup
  image: {{ include "cilium.image" (list . $v.image) | quote }}
  imagePullPolicy: {{ $v.image.pullPolicy }}
  command:
    - sh
    - -ec
    - |
      root={{ $v.cgroup.hostRoot }}
      is_cgroup2() { grep -q " $1 cgroup2 " /proc/mounts; }
      if is_cgroup2 "$root"; then exit; fi
      # The mount that the node has: another one would reset the hierarchy's options (nsdelegate, memory_recursiveprot).
      for dir in /host/sys/fs/cgroup /host/sys/fs/cgroup/unified; do
        if is_cgroup2 "$dir"; then exec mount -o bind "$dir" "$root"; fi
      done
      exec mount -t cgroup2 cgroup2 "$root"
  securityContext:
    privileged: true
  terminationMessagePolicy: FallbackToLogsOnError
  {{- with default $v.initResources $v.cgroup.autoMount.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    - name: cilium-cgroup
      mountPath: {{ $v.cgroup.hostRoot }}
      mountPropagation: Bidirectional
    - name: host-sys-fs-cgroup
      mountPath: /host/sys/fs/cgroup
{{- end }}
{{- if and $v.bpf.autoMount.enabled (not $v.securityContext.privileged) }}
# Privileged, and ends: mounts the BPF file system on a node that has none.
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
{{- if $v.ipMasqAgent.enabled }}
- name: ip-masq-agent
  configMap:
    name: ip-masq-agent
    # Without it the usual private ranges are on the list.
    optional: true
    items:
      - key: config
        path: ip-masq-agent
{{- end }}
{{- if and $v.hubble.enabled $v.hubble.export.dynamic.enabled }}
- name: hubble-flowlog-config
  configMap:
    name: {{ $v.hubble.export.dynamic.config.configMapName }}
    optional: true
{{- end }}
{{- if include "hubble.tls" . }}
- name: hubble-tls
  projected:
    defaultMode: 0400
    sources:
      - secret:
          name: {{ include "hubble.serverSecret" . }}
          # The network must not wait for whoever makes certificates; the agent waits for them itself.
          optional: true
          items:
            - key: tls.crt
              path: server.crt
            - key: tls.key
              path: server.key
            - key: ca.crt
              path: client-ca.crt
{{- end }}
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
{{- if include "cilium.kubeProxyReplacement" . }}
- name: cilium-cgroup
  hostPath:
    path: {{ $v.cgroup.hostRoot }}
    type: {{ $v.cgroup.autoMount.enabled | ternary "DirectoryOrCreate" "Directory" }}
{{- if $v.cgroup.autoMount.enabled }}
- name: host-sys-fs-cgroup
  hostPath:
    path: /sys/fs/cgroup
    type: Directory
{{- end }}
{{- end }}
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
{{- if $v.cni.configMap }}
- name: cni-configuration
  configMap:
    name: {{ $v.cni.configMap }}
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
