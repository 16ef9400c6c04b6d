{{/* What a Job that trains once is like. Given as a pod is. */}}
{{- define "latentstream.trainingJob" -}}
# What was interrupted or found nothing to train on is tried again, and goes on where it was.
backoffLimit: 3
activeDeadlineSeconds: {{ .values.deadline }}
# It goes after a week, so that its log can be read until then.
ttlSecondsAfterFinished: 604800
podFailurePolicy:
  rules:
    # A drained node does not count as a failure.
    - action: Ignore
      onPodConditions: [{type: DisruptionTarget, status: "True"}]
template:
  {{- include "latentstream.pod" . | nindent 2 }}
{{- end }}
