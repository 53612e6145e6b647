{{- define "stsguard.webhook" -}}
{{ .Values.name }}-webhook
{{- end }}

{{- /* stsguard's own Secret and others' have two names, so that neither writes over the other. */}}
{{- define "stsguard.secret" -}}
{{ .Values.certificates.secret | default (printf "%s-webhook-%s" .Values.name (eq .Values.certificates.source "self" | ternary "certs" "tls")) }}
{{- end }}

{{- define "stsguard.selector" -}}
app.kubernetes.io/name: stsguard
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: webhook
{{- end }}

{{- define "stsguard.labels" -}}
{{ include "stsguard.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{- define "stsguard.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- with .Values.image.digest }}@{{ . }}{{ end }}
{{- end }}
