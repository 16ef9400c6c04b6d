{{/* Where workers may connect to. Given as {ports, to}. */}}
{{- define "latentstream.egress" -}}
- ports:
    {{- range .ports }}
    - {port: {{ . }}}
    {{- end }}
  {{- with .to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
