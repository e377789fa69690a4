package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// TestWhatMigratePrintsPassesLint has lint read what migrate makes of the objects
// in testdata of package migrate. Of an object that lint finds something about
// migrate must have said so.
func TestWhatMigratePrintsPassesLint(t *testing.T) {
	files, err := filepath.Glob("../../internal/migrate/testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	found := 0
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		peer, _, _ := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".txtar"), "_")
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "in.yaml"), archive.Files[0].Data, 0o600); err != nil {
			t.Fatal(err)
		}
		migrated := pluginOf(t, dir, "migrate", "--from", peer, "-f", "in.yaml")
		if err := os.WriteFile(filepath.Join(dir, "out.yaml"), migrated, 0o600); err != nil {
			t.Fatal(err)
		}
		_, blocking, _ := strings.Cut(string(migrated), "\n# BREAKS: ")
		blocking, _, _ = strings.Cut(blocking, "\n# NO EQUAL: ")
		var r report
		if err := json.Unmarshal(pluginOf(t, dir, "lint", "-f", "out.yaml", "-o", "json"), &r); err != nil {
			t.Fatal(err)
		}
		for _, f := range r.Findings {
			found++
			if !strings.Contains(blocking, "\n# - "+f.Object+": ") {
				t.Errorf("%s: lint says %s of %s, and migrate says only\n%s", file, f.Message, f.Object, blocking)
			}
		}
	}
	if found == 0 {
		t.Error("lint finds nothing in any of them: one should be refused")
	}
}

// pluginOf runs the plugin in a folder, without a cluster.
func pluginOf(t *testing.T, dir string, args ...string) []byte {
	t.Helper()
	var out, err bytes.Buffer
	p := &tool{IOStreams: genericiooptions.IOStreams{Out: &out, ErrOut: &err}, flags: genericclioptions.NewConfigFlags(true), folder: dir}
	p.now = time.Now
	if code := p.run(t.Context(), args); !slices.Contains([]int{exitFine, exitFound}, code) {
		t.Fatalf("%q ends with %d: %s", args, code, err.String())
	}
	return out.Bytes()
}
