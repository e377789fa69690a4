package crd

import (
	"regexp"
	"strings"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// Speakers write the status of these kinds: a holder of a speaker's token can fill no
// object of them with a megabyte.
func TestWhatSpeakersWriteIsSmall(t *testing.T) {
	for _, name := range []string{"l2claims", "bgpsessions", "speakers"} {
		text, err := Files.ReadFile("steelyard.dev_" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.Unmarshal(text, &crd); err != nil {
			t.Fatal(err)
		}
		properties := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties
		total := 0
		for _, part := range []string{"spec", "status"} {
			if p, ok := properties[part]; ok {
				total += largest(t, name+"."+part, p)
			}
		}
		t.Logf("%s: %d characters", name, total)
		if total > 1<<20 {
			t.Errorf("%s may hold %d characters, more than a megabyte", name, total)
		}
	}
}

// largest returns how many characters a value may have at most, and complains about
// what is without a limit.
func largest(t *testing.T, path string, s apiextensionsv1.JSONSchemaProps) int {
	t.Helper()
	switch s.Type {
	case "object":
		n := 2
		for name, p := range s.Properties {
			n += len(name) + 4 + largest(t, path+"."+name, p)
		}
		if s.AdditionalProperties != nil {
			t.Errorf("%s has keys of any name", path)
		}
		return n
	case "array":
		if s.MaxItems == nil {
			t.Errorf("%s has no maxItems", path)
			return 0
		}
		return 2 + int(*s.MaxItems)*(1+largest(t, path+"[]", *s.Items.Schema))
	case "string":
		switch {
		case s.Format == "date-time":
			return 64
		case len(s.Enum) > 0:
			return 64
		case s.MaxLength == nil:
			t.Errorf("%s has no maxLength", path)
			return 0
		}
		return 2 + int(*s.MaxLength)
	}
	return 20 // a number, or true
}

// The API server takes more for a time than programs can read. One object with such a time would hide
// all objects of its kind from controller and speakers.
func TestEachTimeCanBeRead(t *testing.T) {
	files, err := Files.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	times := 0
	for _, f := range files {
		text, err := Files.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(text), "\n")
		for i, line := range lines {
			if strings.TrimSpace(line) != "format: date-time" {
				continue
			}
			pattern, is := strings.CutPrefix(strings.TrimSpace(lines[i+1]), "pattern: ")
			if !is {
				t.Errorf("%s:%d: a time without a pattern", f.Name(), i+1)
				continue
			}
			times++
			re := regexp.MustCompile(pattern)
			for _, bad := range []string{"2026-01-01t00:00:00Z", "2026-01-01T00:00:00z", "2026-01-01T00:00:00x5Z", "2026-01-01T00:00:00+99:00", "2026-01-01T00:00:00+00:60", "2026-01-01T00:00:00.Z"} {
				if re.MatchString(bad) {
					t.Errorf("%s:%d: %s takes %s", f.Name(), i+2, pattern, bad)
				}
			}
			micro := !re.MatchString("2026-01-01T00:00:00Z")
			if now := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC); !re.MatchString(now.Format("2006-01-02T15:04:05.000000Z07:00")) || !micro && !re.MatchString(now.Format(time.RFC3339)) {
				t.Errorf("%s:%d: %s refuses what programs write", f.Name(), i+2, pattern)
			}
		}
	}
	if times == 0 {
		t.Error("there are no times")
	}
}
