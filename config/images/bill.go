package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/uuid"
)

// bill writes the bill of materials of a program beside its archive: what Go's
// linker noted in the program of the modules that are in it.
func (o options) bill(p program, arch string) error {
	path := filepath.Join(o.bin, arch, p.name)
	bom, err := o.materials(path)
	if err != nil {
		return fmt.Errorf("list what is in %s: %w", path, err)
	}
	file, err := os.Create(filepath.Join(o.out, "steelyard-"+p.name+"-"+arch+".cdx.json"))
	if err != nil {
		return fmt.Errorf("write the bill of materials: %w", err)
	}
	err = cdx.NewBOMEncoder(file, cdx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bom, cdx.SpecVersion1_6)
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", file.Name(), err)
	}
	return nil
}

func (o options) materials(path string) (*cdx.BOM, error) {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	main := cdx.Component{
		Type: cdx.ComponentTypeApplication, Name: "steelyard-" + filepath.Base(path), Version: o.version,
		BOMRef: "program", PackageURL: "pkg:golang/" + info.Main.Path + "@" + o.version,
		Hashes:   &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(sum[:])}},
		Licenses: &cdx.Licenses{{License: &cdx.License{ID: "Apache-2.0"}}},
	}
	library := func(name, version string) cdx.Component {
		ref := "pkg:golang/" + name + "@" + version
		return cdx.Component{Type: cdx.ComponentTypeLibrary, Name: name, Version: version, BOMRef: ref, PackageURL: ref}
	}
	components := []cdx.Component{library("std", strings.TrimPrefix(info.GoVersion, "go"))}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		components = append(components, library(m.Path, m.Version))
	}
	var refs []string
	for _, c := range components {
		refs = append(refs, c.BOMRef)
	}
	bom := cdx.NewBOM()
	// The number follows from the program: equal programs have equal bills.
	bom.SerialNumber = uuid.NewSHA1(uuid.NameSpaceURL, sum[:]).URN()
	bom.Metadata = &cdx.Metadata{Component: &main}
	bom.Components = &components
	bom.Dependencies = &[]cdx.Dependency{{Ref: "program", Dependencies: &refs}}
	return bom, nil
}
