{{/*
The names are fixed, whatever the release is called: the definitions, roles and policies are the cluster's, so that there is
one installation in a cluster; and the programs know the names of their Leases and field managers.
*/}}
{{- define "stillframe.operator" -}}stillframe-operator{{- end }}
{{- define "stillframe.agent" -}}stillframe-node-agent{{- end }}

{{/* The users that the two service accounts are, as policies see them. */}}
{{- define "stillframe.operator.user" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "stillframe.operator" . }}
{{- end }}
{{- define "stillframe.agent.user" -}}
system:serviceaccount:{{ .Values.agent.namespace }}:{{ include "stillframe.agent" . }}
{{- end }}

{{/* Labels of every object. */}}
{{- define "stillframe.labels" -}}
app.kubernetes.io/name: stillframe
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: stillframe
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels by which the pods of a component are found; they never change. Use: (list . "operator") */}}
{{- define "stillframe.selector" -}}
app.kubernetes.io/name: stillframe
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Labels of the pods of a component: nothing that changes with the chart alone, since that would replace them. */}}
{{- define "stillframe.pod.labels" -}}
{{- $root := index . 0 -}}
{{ include "stillframe.selector" . }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: stillframe
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* An image's whole name. Use: (list . .Values.operator.image) */}}
{{- define "stillframe.image" -}}
{{- $root := index . 0 }}
{{- $image := index . 1 }}
{{- $name := $image.repository }}
{{- with $root.Values.image.registry }}{{ $name = printf "%s/%s" . $name }}{{ end }}
{{- if $image.digest -}}
{{ printf "%s@%s" $name $image.digest }}
{{- else -}}
{{ printf "%s:%s" $name (coalesce $image.tag $root.Values.image.tag $root.Chart.AppVersion) }}
{{- end }}
{{- end }}

{{/* The bound node of the request's token, as a CEL expression: empty where the token names none. */}}
{{- define "stillframe.cel.node" -}}
has(request.userInfo.extra) && 'authentication.kubernetes.io/node-name' in request.userInfo.extra &&
request.userInfo.extra['authentication.kubernetes.io/node-name'].size() == 1 ?
request.userInfo.extra['authentication.kubernetes.io/node-name'][0] : ''
{{- end }}

{{/* A binding that enforces a policy everywhere. Use: (list . "name") */}}
{{- define "stillframe.binding" -}}
{{- $root := index . 0 -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ index . 1 }}
  labels:
    {{- include "stillframe.labels" $root | nindent 4 }}
spec:
  policyName: {{ index . 1 }}
  validationActions: [Deny]
{{- end }}

{{/*
The variables of a container: the chart's own, and further ones, each in place of the chart's of the same name, since a list with
the same name twice is refused. Use: (list "the chart's, as YAML" .Values.operator.extraEnv)
*/}}
{{- define "stillframe.env" -}}
{{- $further := index . 1 }}
{{- $names := list }}
{{- range $further }}{{ $names = append $names .name }}{{ end }}
{{- $all := list }}
{{- range fromYamlArray (index . 0) }}
{{- if not (has .name $names) }}{{ $all = append $all . }}{{ end }}
{{- end }}
{{- toYaml (concat $all $further) }}
{{- end }}

{{/* The annotations of what cleans up after an uninstall. Use: its weight. */}}
{{- define "stillframe.cleanup.hook" -}}
helm.sh/hook: post-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
