//go:build tools

// Package tools names the commands that this module exists to build, so that go.sum covers them.
package tools

import _ "helm.sh/helm/v4/cmd/helm"
