package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/steelyard-lb/steelyard/e2e/lab/hosts"
)

// Down ends every process of a rack and removes its hosts and files. It goes by
// the namespaces' names, so it works after a crash at any point, without the
// state folder, and when there is nothing left to do.
func Down(name string) error {
	if !rackName.MatchString(name) {
		return fmt.Errorf("%q cannot be a rack's name", name)
	}
	if os.Geteuid() != 0 {
		return errors.New("only root may take a rack down")
	}
	if err := hosts.Remove(name + "-"); err != nil {
		return err
	}
	etc, socks := frrFolders(name)
	for _, dir := range []string{filepath.Join(stateRoot, name), etc, socks} {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove rack %s: %w", name, err)
		}
	}
	_ = os.Remove(stateRoot) // fails while other racks are there, as it should
	return nil
}
