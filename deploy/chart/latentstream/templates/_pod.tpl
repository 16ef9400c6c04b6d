{{/* The pod of a role. Given as {root, role, values, args} and, for Jobs, restartPolicy. */}}
{{- define "latentstream.pod" -}}
{{- $root := .root -}}
{{- $probes := $root.Values.probes -}}
metadata:
  # No version among them: a new chart with the same image restarts nothing.
  labels:
    {{- include "latentstream.selector" . | nindent 4 }}
spec:
  serviceAccountName: {{ include "latentstream.serviceAccount" $root }}
  automountServiceAccountToken: false
  # Or Services of a release called latentstream would look like settings.
  enableServiceLinks: false
  # Process 1 is deaf to SIGTERM until Python listens to it, which is after its imports: let it be another process.
  shareProcessNamespace: true
  terminationGracePeriodSeconds: {{ .values.terminationGracePeriodSeconds }}
  {{- with $root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with .restartPolicy }}
  restartPolicy: {{ . }}
  {{- end }}
  securityContext:
    {{- include "latentstream.podSecurity" 10001 | nindent 4 }}
  {{- include "latentstream.scheduling" . | indent 2 }}
  containers:
    - name: {{ .role }}
      image: {{ include "latentstream.image" (dict "root" $root "target" .values.target) }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args: {{ .args | toJson }}
      env:
        {{- include "latentstream.environment" . | nindent 8 }}
      {{- with include "latentstream.environmentFrom" $root }}
      envFrom:
        {{- . | indent 8 }}
      {{- end }}
      ports:
        - {name: http, containerPort: 8080}
      startupProbe:
        httpGet: {path: /live, port: http}
        periodSeconds: 5
        failureThreshold: {{ div $probes.startSeconds 5 }}
      livenessProbe:
        httpGet: {path: /live, port: http}
        periodSeconds: {{ $probes.periodSeconds }}
        timeoutSeconds: 5
        failureThreshold: {{ $probes.failures }}
      readinessProbe:
        # The explorer waits for nothing before it answers.
        httpGet: {path: {{ ternary "/live" "/ready" (eq .role "explorer") }}, port: http}
        periodSeconds: {{ $probes.periodSeconds }}
        timeoutSeconds: 5
        failureThreshold: {{ $probes.failures }}
      resources:
        {{- toYaml .values.resources | nindent 8 }}
      securityContext:
        {{- include "latentstream.containerSecurity" . | nindent 8 }}
      volumeMounts:
        {{- include "latentstream.mounts" . | nindent 8 }}
  volumes:
    {{- include "latentstream.volumes" . | nindent 4 }}
{{- end }}

{{/* Given the number of user and group. */}}
{{- define "latentstream.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
# A large volume is not walked through at each start.
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "latentstream.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Where a pod runs. Given as {root, role, values}. */}}
{{- define "latentstream.scheduling" -}}
{{- $context := . -}}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $keys := dict "zone" "topology.kubernetes.io/zone" "host" "kubernetes.io/hostname" }}
{{- $constraints := list }}
{{- range $over, $unsatisfiable := .values.spread }}
{{- if $unsatisfiable }}
{{- $constraints = append $constraints (dict "key" (get $keys $over) "unsatisfiable" $unsatisfiable) }}
{{- end }}
{{- end }}
{{- with $constraints }}
topologySpreadConstraints:
  {{- range . }}
  - topologyKey: {{ .key }}
    maxSkew: 1
    whenUnsatisfiable: {{ .unsatisfiable }}
    # A node whose taints keep the pod away is none without a pod.
    nodeTaintsPolicy: Honor
    # Pods of the version before do not count, or an upgrade could find no place.
    matchLabelKeys: [pod-template-hash]
    labelSelector:
      matchLabels:
        {{- include "latentstream.selector" $context | nindent 8 }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "latentstream.mounts" -}}
{{- $kafka := include "latentstream.kafka" .root | fromYaml -}}
- {name: home, mountPath: /var/lib/latentstream}
- {name: tmp, mountPath: /tmp}
{{- if not .root.Values.registry.url }}
- {name: registry, mountPath: /registry, readOnly: {{ ne .role "trainer" }}}
{{- end }}
{{- if or $kafka.tls.caSecret $kafka.tls.certSecret }}
- {name: kafka-tls, mountPath: /etc/latentstream/kafka, readOnly: true}
{{- end }}
{{- if or .root.Values.redis.tls.caSecret .root.Values.redis.tls.certSecret }}
- {name: redis-tls, mountPath: /etc/latentstream/redis, readOnly: true}
{{- end }}
{{- end }}

{{- define "latentstream.volumes" -}}
{{- $kafka := include "latentstream.kafka" .root | fromYaml -}}
- name: home
  emptyDir: {sizeLimit: {{ .values.scratch }}}
- name: tmp
  emptyDir: {sizeLimit: 1Gi}
{{- if not .root.Values.registry.url }}
- name: registry
  persistentVolumeClaim: {claimName: {{ include "latentstream.registryClaim" .root }}}
{{- end }}
{{- include "latentstream.tlsVolume" (dict "name" "kafka-tls" "tls" $kafka.tls) }}
{{- include "latentstream.tlsVolume" (dict "name" "redis-tls" "tls" .root.Values.redis.tls) }}
{{- end }}

{{- define "latentstream.tlsVolume" -}}
{{- if or .tls.caSecret .tls.certSecret }}
- name: {{ .name }}
  projected:
    defaultMode: 0440
    sources:
      {{- with .tls.caSecret }}
      - secret: {name: {{ . }}, items: [{key: {{ $.tls.caKey }}, path: ca.crt}]}
      {{- end }}
      {{- with .tls.certSecret }}
      - secret: {name: {{ . }}, items: [{key: {{ $.tls.certKey }}, path: tls.crt}, {key: {{ $.tls.keyKey }}, path: tls.key}]}
      {{- end }}
{{- end }}
{{- end }}
