package policies

import "embed"

// builtin holds the rules that come with stsguard; their tests and fixtures
// stay out of the binary.
//
//go:embed lib/lib.rego rules/*/rule.rego
var builtin embed.FS

// inputSchema is the published JSON schema of what a rule sees.
//
//go:embed input.schema.json
var inputSchema []byte
