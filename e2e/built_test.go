package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/steelyard-lb/steelyard/e2e/lab/programs"
)

// isBuilt is the condition [built:IMAGE] of stories: the program that Pods of an image run is built.
func isBuilt(condition string) (bool, error) {
	image, ok := strings.CutPrefix(condition, "built:")
	if !ok {
		return false, fmt.Errorf("unknown condition %q", condition)
	}
	path, err := builtProgram(image)
	if err != nil {
		return false, err
	}
	_, err = os.Stat(path)
	return err == nil, nil
}

// builtProgram returns where the program of an image is, or will be once it is built.
func builtProgram(image string) (string, error) {
	all, err := builtPrograms()
	if err == nil && all[image] == "" {
		err = fmt.Errorf("no program is known for the image %q", image)
	}
	return all[image], err
}

// builtVariables tell a story where each of these programs is: $KUBE_ROUTER for kube-router.
func builtVariables() ([]string, error) {
	all, err := builtPrograms()
	var out []string
	for image, path := range all {
		out = append(out, strings.ToUpper(strings.ReplaceAll(image, "-", "_"))+"="+path)
	}
	return out, err
}

func builtPrograms() (map[string]string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	return programs.Paths(".", filepath.Join(cache, "steelyard"))
}
