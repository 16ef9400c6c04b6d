{{/* A budget for drains of nodes. Given as {root, role, values}. */}}
{{- define "latentstream.disruptionBudget" -}}
{{- if .values.disruptionBudget }}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "latentstream.name" .root }}-{{ .role }}
  labels:
    {{- include "latentstream.labels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  # One that never became ready is no reason to keep its node.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "latentstream.selector" . | nindent 6 }}
{{- end }}
{{- end }}

{{/* Scaling by the lag of the consumer group. Given as {root, role, values}. */}}
{{- define "latentstream.autoscaling" -}}
{{- $scaling := .values.autoscaling -}}
{{- if $scaling.enabled }}
{{- $kafka := include "latentstream.kafka" .root | fromYaml -}}
{{- $name := printf "%s-%s" (include "latentstream.name" .root) .role -}}
{{- $most := min (int $scaling.maxReplicas) (int .root.Values.kafka.partitions) -}}
{{- if gt (int $scaling.minReplicas) (int $most) }}
{{- fail (printf "%s.autoscaling.minReplicas is %v, and no more than %v are of use: see maxReplicas and kafka.partitions" .role $scaling.minReplicas $most) }}
{{- end }}
{{- $sasl := hasPrefix "SASL" $kafka.securityProtocol -}}
{{- $tls := hasSuffix "SSL" $kafka.securityProtocol -}}
{{- $secured := or $sasl (and $tls (or $kafka.tls.caSecret $kafka.tls.certSecret)) -}}
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: {{ $name }}
  labels:
    {{- include "latentstream.labels" . | nindent 4 }}
spec:
  scaleTargetRef: {name: {{ $name }}, envSourceContainerName: {{ .role }}}
  minReplicaCount: {{ $scaling.minReplicas }}
  # A consumer without a partition has nothing to do.
  maxReplicaCount: {{ $most }}
  pollingInterval: 15
  # Where KEDA cannot ask Kafka, the workers that there are stay.
  fallback: {failureThreshold: 4, replicas: {{ $scaling.minReplicas }}, behavior: currentReplicasIfHigher}
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleUp:
          # A worker takes a minute to start and to load its index: lag falls only then.
          stabilizationWindowSeconds: 60
          policies: [{type: Pods, value: 2, periodSeconds: 120}]
        scaleDown:
          stabilizationWindowSeconds: {{ $scaling.cooldown }}
          policies: [{type: Pods, value: 1, periodSeconds: 300}]
  triggers:
    - type: kafka
      metadata:
        bootstrapServers: {{ $kafka.bootstrapServers | quote }}
        consumerGroup: {{ .root.Values.kafka.groupPrefix }}-{{ .role }}
        topic: {{ ternary .root.Values.kafka.topics.items .root.Values.kafka.topics.interactions (eq .role "encoder") }}
        lagThreshold: {{ $scaling.lag | quote }}
        # A group that has not committed yet begins with the first event.
        offsetResetPolicy: earliest
        allowIdleConsumers: "false"
        {{- if $sasl }}
        sasl: {{ get (dict "PLAIN" "plaintext" "SCRAM-SHA-256" "scram_sha256" "SCRAM-SHA-512" "scram_sha512") $kafka.sasl.mechanism }}
        {{- end }}
        {{- if $tls }}
        tls: enable
        {{- end }}
      {{- if $secured }}
      authenticationRef: {name: {{ $name }}}
      {{- end }}
{{- if $secured }}
---
apiVersion: keda.sh/v1alpha1
kind: TriggerAuthentication
metadata:
  name: {{ $name }}
  labels:
    {{- include "latentstream.labels" . | nindent 4 }}
spec:
  {{- if $sasl }}
  env:
    - {parameter: username, name: LATENTSTREAM_KAFKA__SASL_USERNAME, containerName: {{ .role }}}
  {{- end }}
  secretTargetRef:
    {{- if $sasl }}
    - {parameter: password, name: {{ $kafka.sasl.secret }}, key: {{ $kafka.sasl.passwordKey }}}
    {{- end }}
    {{- if and $tls $kafka.tls.caSecret }}
    - {parameter: ca, name: {{ $kafka.tls.caSecret }}, key: {{ $kafka.tls.caKey }}}
    {{- end }}
    {{- if and $tls $kafka.tls.certSecret }}
    - {parameter: cert, name: {{ $kafka.tls.certSecret }}, key: {{ $kafka.tls.certKey }}}
    - {parameter: key, name: {{ $kafka.tls.certSecret }}, key: {{ $kafka.tls.keyKey }}}
    {{- end }}
{{- end }}
{{- end }}
{{- end }}
