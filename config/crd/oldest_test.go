package crd

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// Kubernetes 1.31 does not know what it costs to compare two networks or two addresses of CEL, holds it for
// too costly, and refuses the kind. A number or a bool of them may be compared.
func TestNoRuleComparesNetworks(t *testing.T) {
	files, err := filepath.Glob("*.yaml")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	compares := regexp.MustCompile(`\b(?:cidr|ip)\([^()]*\)(?:\.masked\(\)|\.ip\(\))* *[!=]= *(?:cidr|ip)\([^()]*\)(?:\.masked\(\)|\.ip\(\))*(?:[^.]|$)`)
	for _, rule := range []string{"cidr(self) == cidr(self).masked()", "ip(self) != ip('::')"} {
		if !compares.MatchString(rule) {
			t.Errorf("%s is not found", rule)
		}
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range compares.FindAllString(string(text), -1) {
			t.Errorf("%s: a rule has %s", file, found)
		}
	}
}
