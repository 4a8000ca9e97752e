{{- define "driftless.name" -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- end -}}

{{- define "driftless.selector" -}}
app.kubernetes.io/name: driftless
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "driftless.labels" -}}
{{ include "driftless.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}
