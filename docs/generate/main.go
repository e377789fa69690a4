// Command generate writes the pages of docs/reference that follow from something
// else: api.md from the kinds in config/crd, reasons.md from the constants of the API, flags.md
// and plugin.md from what the built programs answer to -help. "make generate" runs it; a test fails when a page is stale.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	root := flag.String("root", ".", "folder of the checkout, with the built programs in bin")
	flag.Parse()
	if err := write(*root); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func write(root string) error {
	all, err := pages(root)
	if err != nil {
		return err
	}
	for name, text := range all {
		if err := os.WriteFile(filepath.Join(root, folder, name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil
}

// folder is where the pages are.
const folder = "docs/reference"

// pages makes the pages, by the names of their files.
func pages(root string) (map[string]string, error) {
	kinds, err := readKinds(filepath.Join(root, "config", "crd"))
	if err != nil {
		return nil, err
	}
	out := map[string]string{"api.md": kindsPage(kinds)}
	if out["flags.md"], err = flagsPage(filepath.Join(root, "bin"), []string{"controller", "speaker"}); err != nil {
		return nil, err
	}
	if out["plugin.md"], err = pluginPage(filepath.Join(root, "bin", "kubectl-steelyard")); err != nil {
		return nil, err
	}
	if out["reasons.md"], err = wordsPage(filepath.Join(root, "api", "v1beta1")); err != nil {
		return nil, err
	}
	return out, nil
}
