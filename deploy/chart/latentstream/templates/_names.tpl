{{- define "latentstream.name" -}}
{{- default .Release.Name .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* Labels that never change, for selectors: of a role, given as {root, role}. */}}
{{- define "latentstream.selector" -}}
app.kubernetes.io/name: latentstream
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end }}

{{/* Labels of an object of a role, given as {root, role}. */}}
{{- define "latentstream.labels" -}}
{{ include "latentstream.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{/* A selector of the pods of some roles, given as {root, roles}. */}}
{{- define "latentstream.selectorOf" -}}
matchLabels:
  app.kubernetes.io/name: latentstream
  app.kubernetes.io/instance: {{ .root.Release.Name }}
matchExpressions:
  - {key: app.kubernetes.io/component, operator: In, values: {{ .roles | toJson }}}
{{- end }}

{{/* The image of a target, given as {root, target}. */}}
{{- define "latentstream.image" -}}
{{- $image := .root.Values.image -}}
{{- with get $image.digests .target -}}
{{ $image.repository }}@{{ . }}
{{- else -}}
{{ $image.repository }}:{{ default .root.Chart.AppVersion $image.version }}-{{ .target }}
{{- end -}}
{{- end }}

{{- define "latentstream.serviceAccount" -}}
{{- default (include "latentstream.name" .) .Values.serviceAccount.existing -}}
{{- end }}

{{- define "latentstream.registryClaim" -}}
{{- default (printf "%s-registry" (include "latentstream.name" .)) .Values.registry.volume.existingClaim -}}
{{- end }}

{{/* How Kafka is reached: what the values say, or the cluster that the chart makes. YAML. */}}
{{- define "latentstream.kafka" -}}
{{- if .Values.kafkaCluster.enabled -}}
{{- $name := include "latentstream.name" . -}}
{{- /* With its namespace: KEDA asks from another. */}}
bootstrapServers: {{ $name }}-kafka-bootstrap.{{ .Release.Namespace }}.svc:9093
securityProtocol: SASL_SSL
createTopics: false
replicationFactor: {{ .Values.kafkaCluster.replicationFactor }}
sasl: {mechanism: SCRAM-SHA-512, username: {{ $name }}, secret: {{ $name }}, passwordKey: password}
tls: {caSecret: {{ $name }}-cluster-ca-cert, caKey: ca.crt, certSecret: "", certKey: tls.crt, keyKey: tls.key}
{{- else -}}
{{- $_ := required "kafka.bootstrapServers is needed: host:port of your brokers (or kafkaCluster.enabled=true, with the Strimzi operator)" .Values.kafka.bootstrapServers -}}
{{- pick .Values.kafka "bootstrapServers" "securityProtocol" "createTopics" "replicationFactor" "sasl" "tls" | toYaml }}
{{- end -}}
{{- end }}
