//go:build tools

// Package peers pins what the tests build: h2spec has no go.mod of its own, so that its dependencies are fixed here.
package peers

import _ "github.com/summerwind/h2spec/cmd/h2spec"
