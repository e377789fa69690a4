{{/* The labels that find the Pods of a program; they can't change once installed. */}}
{{- define "steelyard.selector" -}}
app.kubernetes.io/name: steelyard
app.kubernetes.io/component: {{ . }}
{{- end }}

{{/* The labels of an object; takes a list of the root and the component's name, which may be empty. Those of a release are not in the
manifests of config/, which are made without one. */}}
{{- define "steelyard.labels" -}}
{{- $root := index . 0 -}}
{{- $labels := dict "app.kubernetes.io/name" "steelyard" -}}
{{- with index . 1 }}{{ $labels = set $labels "app.kubernetes.io/component" . }}{{ end -}}
{{- if eq $root.Release.Service "Helm" -}}
{{- $labels = merge $labels (dict "app.kubernetes.io/instance" $root.Release.Name "app.kubernetes.io/version" (toString $root.Chart.AppVersion) "app.kubernetes.io/part-of" "steelyard") -}}
{{- $labels = merge $labels (dict "app.kubernetes.io/managed-by" "Helm" "helm.sh/chart" (printf "steelyard-%s" $root.Chart.Version | replace "+" "_")) -}}
{{- end -}}
{{- merge $labels $root.Values.commonLabels | toYaml -}}
{{- end }}

{{/* The labels of a program's Pods: the version is not among them, so that a new chart alone replaces no speaker. */}}
{{- define "steelyard.podLabels" -}}
{{- $root := index . 0 -}}
{{- $program := index . 1 -}}
{{- $labels := dict "app.kubernetes.io/name" "steelyard" "app.kubernetes.io/component" $program -}}
{{- merge $labels (index $root.Values $program).podLabels $root.Values.commonLabels | toYaml -}}
{{- end }}

{{/* The reference of a program's image; takes a list of the root and the program's name. */}}
{{- define "steelyard.image" -}}
{{- $root := index . 0 -}}
{{- $program := index . 1 -}}
{{- $image := $root.Values.image -}}
{{- $registry := ternary "" (printf "%s/" (trimSuffix "/" $image.registry)) (empty $image.registry) -}}
{{- $built := printf "%ssteelyard-%s:%s" $registry $program (default $root.Chart.AppVersion $image.tag) -}}
{{- $digest := index $image (printf "%sDigest" $program) -}}
{{- if and $digest (empty $image.tag) }}{{ $built = printf "%s@%s" $built $digest }}{{ end -}}
{{- default $built (index $root.Values $program).image -}}
{{- end }}

{{/* A security context; takes a list of its value and of what is usual. false: there is none. */}}
{{- define "steelyard.context" -}}
{{- $value := index . 0 -}}
{{- if kindIs "bool" $value -}}
{{- else if $value -}}
{{- toYaml $value -}}
{{- else -}}
{{- index . 1 -}}
{{- end -}}
{{- end }}

{{/* What is usual for the Pods of a program. */}}
{{- define "steelyard.podContext" -}}
{{- if dig "runAsRoot" false . }}
runAsUser: 0
runAsGroup: 0
{{- else }}
runAsNonRoot: true
{{- with int64 .user }}
runAsUser: {{ . }}
runAsGroup: {{ . }}
{{- end }}
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* What is usual for a container of the controller's image. */}}
{{- define "steelyard.noCapability" -}}
# It needs no capability.
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Flags that both programs have. */}}
{{- define "steelyard.flags" -}}
{{- if .Values.ignoreExcludeLabel }}
- --ignore-exclude-label
{{- end }}
{{- if ne .Values.unschedulable "ignore" }}
- --unschedulable={{ .Values.unschedulable }}
{{- end }}
{{- if kindIs "slice" .Values.loadBalancerClass }}
{{- range .Values.loadBalancerClass }}
- --load-balancer-class={{ . }}
{{- end }}
{{- else if .Values.loadBalancerClass }}
- --load-balancer-class={{ .Values.loadBalancerClass }}
{{- end }}
{{- if ne .Values.logLevel "INFO" }}
- --log-level={{ .Values.logLevel }}
{{- end }}
{{- if ne .Values.logFormat "text" }}
- --log-format={{ .Values.logFormat }}
{{- end }}
{{- if .Values.metrics.secure }}
- --metrics-secure
{{- if .Values.metrics.certSecret }}
- --metrics-cert-path=/etc/steelyard/metrics
{{- end }}
{{- end }}
{{- end }}

{{/* What is usual for the speaker. */}}
{{- define "steelyard.twoCapabilities" -}}
{{- if .Values.speaker.runAsRoot }}
allowPrivilegeEscalation: false
{{- else }}
# A user other than root gets capabilities from the file that it runs.
# Not every container runtime can do that where this is false. The
# image has no other file, so nothing else can gain by it.
allowPrivilegeEscalation: true
{{- end }}
readOnlyRootFilesystem: true
# NET_RAW: to speak ARP and NDP. NET_ADMIN: to put back the neighbors
# that the kernel forgets when a link bounces. BGP, its MD5 signatures
# and BFD need none: their ports are above 1023 or elsewhere.
capabilities: {drop: [ALL], add: [{{ join ", " .Values.speaker.capabilities }}]}
{{- end }}

{{/* The volumes of a program's Pods; takes a list of the root and the program's name. One has the certificate of the metrics, if it is
not made by the Pod itself. */}}
{{- define "steelyard.volumes" -}}
{{- $root := index . 0 -}}
{{- $extra := (index $root.Values (index . 1)).extraVolumes -}}
{{- $cert := ternary $root.Values.metrics.certSecret "" $root.Values.metrics.secure -}}
{{- if or $cert $extra }}
volumes:
{{- with $cert }}
- name: metrics-cert
  secret: {secretName: {{ . }}}
{{- end }}
{{- with $extra }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end }}
{{- define "steelyard.mounts" -}}
{{- $root := index . 0 -}}
{{- $extra := (index $root.Values (index . 1)).extraVolumeMounts -}}
{{- $cert := ternary $root.Values.metrics.certSecret "" $root.Values.metrics.secure -}}
{{- if or $cert $extra }}
volumeMounts:
{{- if $cert }}
- {name: metrics-cert, mountPath: /etc/steelyard/metrics, readOnly: true}
{{- end }}
{{- with $extra }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end }}

{{/* How the Prometheus operator scrapes; takes a list of the root and the monitor's values. */}}
{{- define "steelyard.scrape" -}}
{{- $root := index . 0 -}}
{{- $monitor := index . 1 -}}
- port: metrics
  interval: {{ $monitor.interval }}
  {{- if $root.Values.metrics.secure }}
  scheme: https
  tlsConfig:
    {{- toYaml $monitor.tlsConfig | nindent 4 }}
  {{- with $monitor.authorization }}
  authorization:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
  relabelings: # the alerts and the dashboard go by these
  - {sourceLabels: [__meta_kubernetes_pod_label_app_kubernetes_io_component], targetLabel: job, replacement: steelyard-$1}
  - {sourceLabels: [__meta_kubernetes_pod_node_name], targetLabel: node}
{{- end }}
