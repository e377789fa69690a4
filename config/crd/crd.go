// Package crd holds the CustomResourceDefinitions, for programs that check
// objects without an API server.
package crd

import "embed"

// Files are the definitions, one file each.
//
//go:embed steelyard.dev_*.yaml
var Files embed.FS
