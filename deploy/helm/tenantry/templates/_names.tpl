{{/* The name of everything: the release's, with the chart's where the release is called otherwise. */}}
{{- define "tenantry.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What pods are found by. It never changes within a release. */}}
{{- define "tenantry.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "tenantry.labels" -}}
{{ include "tenantry.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "tenantry.routes" -}}
{{- .Values.existingRoutes | default (printf "%s-routes" (include "tenantry.name" .)) -}}
{{- end -}}

{{/* All of gateway.toml that is read at a start alone. */}}
{{- define "tenantry.gateway" -}}
{{ .Values.gateway | trim }}

[admin]
address = "{{ .Values.bindAddress }}:9900"
{{- if .Values.admin.tokenSecret }}
token-file = "/etc/tenantry/admin/tokens"
{{- end }}
{{- with .Values.admin.config }}
{{ . | trim }}
{{- end }}

[drain]
accept = "{{ .Values.drain.accept }}s"
timeout = "{{ .Values.drain.timeout }}s"
{{- end -}}
