{{/* The environment of a worker: the settings of schemas/settings.py. Given as {root, role, values}. */}}
{{- define "latentstream.environment" -}}
{{- $root := .root -}}
{{- $kafka := include "latentstream.kafka" $root | fromYaml -}}
{{- $redis := $root.Values.redis -}}
- {name: LATENTSTREAM_HOME, value: /var/lib/latentstream}
- {name: LATENTSTREAM_LOG_LEVEL, value: {{ $root.Values.logLevel }}}
- {name: LATENTSTREAM_LOG_FORMAT, value: json}
{{- if $root.Values.tracing.endpoint }}
- {name: LATENTSTREAM_TRACING, value: "true"}
- {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ $root.Values.tracing.endpoint }}}
- {name: OTEL_SERVICE_NAME, value: {{ include "latentstream.name" $root }}-{{ .role }}}
{{- end }}
- {name: LATENTSTREAM_HEALTH__HOST, value: 0.0.0.0}
- {name: LATENTSTREAM_HEALTH__PORT, value: "8080"}
{{- with .values.stalledAfter }}
- {name: LATENTSTREAM_HEALTH__STALLED_AFTER_S, value: {{ . | quote }}}
{{- end }}
- {name: LATENTSTREAM_MODEL__REGISTRY, value: {{ default "/registry" $root.Values.registry.url }}}
- {name: LATENTSTREAM_KAFKA__BOOTSTRAP_SERVERS, value: {{ $kafka.bootstrapServers | quote }}}
- {name: LATENTSTREAM_KAFKA__ITEMS_TOPIC, value: {{ $root.Values.kafka.topics.items }}}
- {name: LATENTSTREAM_KAFKA__INTERACTIONS_TOPIC, value: {{ $root.Values.kafka.topics.interactions }}}
- {name: LATENTSTREAM_KAFKA__DEAD_LETTERS_TOPIC, value: {{ $root.Values.kafka.topics.deadLetters }}}
- {name: LATENTSTREAM_KAFKA__ANOMALIES_TOPIC, value: {{ $root.Values.kafka.topics.anomalies }}}
- {name: LATENTSTREAM_KAFKA__GROUP_PREFIX, value: {{ $root.Values.kafka.groupPrefix }}}
- {name: LATENTSTREAM_KAFKA__ASSIGNMENT, value: {{ $root.Values.kafka.assignment }}}
- {name: LATENTSTREAM_KAFKA__CREATE_TOPICS, value: {{ $kafka.createTopics | quote }}}
- {name: LATENTSTREAM_KAFKA__PARTITIONS, value: {{ $root.Values.kafka.partitions | quote }}}
- {name: LATENTSTREAM_KAFKA__REPLICATION_FACTOR, value: {{ $kafka.replicationFactor | quote }}}
- {name: LATENTSTREAM_KAFKA__SECURITY_PROTOCOL, value: {{ $kafka.securityProtocol }}}
{{- if hasPrefix "SASL" $kafka.securityProtocol }}
- {name: LATENTSTREAM_KAFKA__SASL_MECHANISM, value: {{ $kafka.sasl.mechanism }}}
- {name: LATENTSTREAM_KAFKA__SASL_USERNAME, value: {{ required (printf "kafka.sasl.username is needed with %s" $kafka.securityProtocol) $kafka.sasl.username | quote }}}
- name: LATENTSTREAM_KAFKA__SASL_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ required (printf "kafka.sasl.secret is needed with %s: the Secret with the password" $kafka.securityProtocol) $kafka.sasl.secret }}, key: {{ $kafka.sasl.passwordKey }}}}
{{- end }}
{{- include "latentstream.tlsEnvironment" (dict "section" "KAFKA" "tls" $kafka.tls) }}
- name: LATENTSTREAM_REDIS__URL
  valueFrom: {secretKeyRef: {name: {{ required "redis.secret is needed: the Secret with the URL of Redis" $redis.secret }}, key: {{ $redis.urlKey }}}}
- {name: LATENTSTREAM_REDIS__PREFIX, value: {{ $redis.prefix }}}
{{- include "latentstream.tlsEnvironment" (dict "section" "REDIS" "tls" $redis.tls) }}
{{- if eq .role "explorer" }}
- {name: LATENTSTREAM_EXPLORER__HOST, value: 0.0.0.0}
- {name: LATENTSTREAM_EXPLORER__PORT, value: "8080"}
- {name: LATENTSTREAM_EXPLORER__NAMES, value: {{ .values.names | toJson | quote }}}
{{- $name := include "latentstream.name" $root }}
- {name: LATENTSTREAM_EXPLORER__WORKERS, value: {{ list (printf "%s-encoder:8080" $name) (printf "%s-recommender:8080" $name) | toJson | quote }}}
- name: LATENTSTREAM_EXPLORER__TOKEN
  valueFrom: {secretKeyRef: {name: {{ required "explorer.tokenSecret is needed: the Secret with the token" .values.tokenSecret }}, key: {{ .values.tokenKey }}}}
{{- end }}
# As many threads as there are processors to run them: TensorFlow and FAISS would count the whole node's.
- name: OMP_NUM_THREADS
  valueFrom: {resourceFieldRef: {containerName: {{ .role }}, resource: limits.cpu}}
- name: TF_NUM_INTRAOP_THREADS
  valueFrom: {resourceFieldRef: {containerName: {{ .role }}, resource: limits.cpu}}
{{- range $name, $value := mergeOverwrite (dict) $root.Values.settings .values.settings }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}

{{- define "latentstream.tlsEnvironment" -}}
{{- if .tls.caSecret }}
- {name: LATENTSTREAM_{{ .section }}__SSL_CAFILE, value: /etc/latentstream/{{ lower .section }}/ca.crt}
{{- end }}
{{- if .tls.certSecret }}
- {name: LATENTSTREAM_{{ .section }}__SSL_CERTFILE, value: /etc/latentstream/{{ lower .section }}/tls.crt}
- {name: LATENTSTREAM_{{ .section }}__SSL_KEYFILE, value: /etc/latentstream/{{ lower .section }}/tls.key}
{{- end }}
{{- end }}

{{/* The Secrets whose keys are settings, or credentials of the object store. */}}
{{- define "latentstream.environmentFrom" -}}
{{- range .Values.settingsSecrets }}
- secretRef: {name: {{ . }}}
{{- end }}
{{- if .Values.registry.url }}
{{- with .Values.registry.credentialsSecret }}
- secretRef: {name: {{ . }}}
{{- end }}
{{- end }}
{{- end }}
