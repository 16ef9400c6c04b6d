{{/* A Deployment that runs a worker. Given as {root, role, values, args}. */}}
{{- define "latentstream.worker" -}}
{{- $autoscaled := dig "autoscaling" "enabled" false .values -}}
{{- $replicas := dig "replicas" 1 .values | int -}}
{{- if and (not $autoscaled) (gt $replicas (int .root.Values.kafka.partitions)) }}
{{- fail (printf "%s.replicas is %d, and kafka.partitions is %v: the others would have nothing to do" .role $replicas .root.Values.kafka.partitions) }}
{{- end }}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "latentstream.name" .root }}-{{ .role }}
  labels:
    {{- include "latentstream.labels" . | nindent 4 }}
spec:
  {{- if not $autoscaled }}
  replicas: {{ $replicas }}
  {{- end }}
  {{- with .values.rollout }}
  strategy:
    type: RollingUpdate
    rollingUpdate: {maxUnavailable: {{ .maxUnavailable }}, maxSurge: {{ .maxSurge }}}
  {{- else }}
  strategy: {type: Recreate}
  {{- end }}
  selector:
    matchLabels:
      {{- include "latentstream.selector" . | nindent 6 }}
  template:
    {{- include "latentstream.pod" . | nindent 4 }}
{{- end }}
