package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
)

// billOfMaterials says, in CycloneDX's JSON, what is linked into a binary: the
// modules by its own word, and Go's standard library. It has no serial number,
// which would have to be another one each time.
func billOfMaterials(b binary, created time.Time) ([]byte, error) {
	sum := sha256.Sum256(b.content)
	self := component(b.info.Main)
	self.Type = cyclonedx.ComponentTypeApplication
	self.Name = program
	self.Hashes = &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: hex.EncodeToString(sum[:])}}
	self.Licenses = &cyclonedx.Licenses{{License: &cyclonedx.License{ID: "Apache-2.0"}}}

	// That is what scanners call it, in whose data its faults are.
	components := []cyclonedx.Component{component(debug.Module{Path: "stdlib", Version: strings.TrimPrefix(b.info.GoVersion, "go")})}
	for _, module := range b.info.Deps {
		if module.Replace != nil {
			module = module.Replace
		}
		components = append(components, component(*module))
	}
	var linked []string
	for _, c := range components {
		linked = append(linked, c.BOMRef)
	}

	bom := cyclonedx.NewBOM()
	bom.Metadata = &cyclonedx.Metadata{
		Timestamp:  created.Format(time.RFC3339),
		Component:  &self,
		Properties: &[]cyclonedx.Property{{Name: "platform", Value: "linux/" + b.architecture}},
	}
	bom.Components = &components
	bom.Dependencies = &[]cyclonedx.Dependency{{Ref: self.BOMRef, Dependencies: &linked}}
	var out bytes.Buffer
	if err := cyclonedx.NewBOMEncoder(&out, cyclonedx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bom, cyclonedx.SpecVersion1_6); err != nil {
		return nil, fmt.Errorf("write the bill of materials for linux/%s: %w", b.architecture, err)
	}
	return out.Bytes(), nil
}

// component is a module under its package URL, by which databases of
// vulnerabilities know it.
func component(module debug.Module) cyclonedx.Component {
	url := "pkg:golang/" + module.Path + "@" + strings.ReplaceAll(module.Version, "+", "%2B")
	return cyclonedx.Component{
		BOMRef:     url,
		Type:       cyclonedx.ComponentTypeLibrary,
		Name:       module.Path,
		Version:    module.Version,
		PackageURL: url,
	}
}
