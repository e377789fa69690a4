{{/* The labels that find the Pods of a program; they can't change once installed. */}}
{{- define "steelyard.labels" -}}
app.kubernetes.io/name: steelyard
app.kubernetes.io/component: {{ . }}
{{- end }}

{{/* The reference of a program's image; takes a list of the root and the program's name. */}}
{{- define "steelyard.image" -}}
{{- $root := index . 0 -}}
{{- $program := index . 1 -}}
{{- $image := $root.Values.image -}}
{{- $built := printf "%ssteelyard-%s:%s" (ternary "" (printf "%s/" (trimSuffix "/" $image.registry)) (empty $image.registry)) $program (default $root.Chart.AppVersion $image.tag) -}}
{{- default $built (index $root.Values $program).image -}}
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

{{/* Where a Pod gets the certificate of its metrics from, if not from itself. */}}
{{- define "steelyard.certVolume" -}}
{{- if and .Values.metrics.secure .Values.metrics.certSecret }}
volumes:
- name: metrics-cert
  secret: {secretName: {{ .Values.metrics.certSecret }}}
{{- end }}
{{- end }}
{{- define "steelyard.certMount" -}}
{{- if and .Values.metrics.secure .Values.metrics.certSecret }}
volumeMounts:
- {name: metrics-cert, mountPath: /etc/steelyard/metrics, readOnly: true}
{{- end }}
{{- end }}
