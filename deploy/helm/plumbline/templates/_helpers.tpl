{{- define "plumbline.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "plumbline.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "plumbline.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "plumbline.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels of every object. Takes the root context. */}}
{{- define "plumbline.labels" -}}
app.kubernetes.io/name: {{ include "plumbline.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: plumbline
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What selects a component's pods; never changes. Takes (list root component). */}}
{{- define "plumbline.selectorLabels" -}}
app.kubernetes.io/name: {{ include "plumbline.name" (first .) }}
app.kubernetes.io/instance: {{ (first .).Release.Name }}
app.kubernetes.io/component: {{ last . }}
{{- end -}}

{{/* name, namespace and labels of a component's object. Takes (list root component). */}}
{{- define "plumbline.metadata" -}}
name: {{ include "plumbline.fullname" (first .) }}-{{ last . }}
namespace: {{ (first .).Release.Namespace }}
{{ include "plumbline.clusterMetadataLabels" . }}
{{- end -}}

{{- define "plumbline.clusterMetadataLabels" -}}
labels:
  {{- include "plumbline.labels" (first .) | nindent 2 }}
  app.kubernetes.io/component: {{ last . }}
{{- end -}}

{{/* Takes (list root component). */}}
{{- define "plumbline.serviceAccountName" -}}
{{- $values := index (first .).Values (last .) -}}
{{- $values.serviceAccount.name | default (printf "%s-%s" (include "plumbline.fullname" (first .)) (last .)) -}}
{{- end -}}

{{/* Takes (list root component). */}}
{{- define "plumbline.image" -}}
{{- $image := (index (first .).Values (last .)).image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default (first .).Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* Labels and annotations (without the chart's version: a new chart alone restarts nothing) of a component's pods. Takes (list root component). */}}
{{- define "plumbline.podMetadata" -}}
{{- $values := index (first .).Values (last .) -}}
labels:
  {{- include "plumbline.selectorLabels" . | nindent 2 }}
  app.kubernetes.io/version: {{ (first .).Chart.AppVersion | quote }}
  app.kubernetes.io/part-of: plumbline
  {{- with (first .).Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with $values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  kubectl.kubernetes.io/default-container: {{ last . }}
  {{- with $values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
