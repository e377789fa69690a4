package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const modulePath = "github.com/steelyard-lb/steelyard"

// moduleRoot finds the folder of this module: above the working directory, or
// else above the running program.
func moduleRoot() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the running program: %w", err)
	}
	cwd, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the working directory: %w", err)
	}
	for _, from := range []string{cwd, filepath.Dir(self)} {
		for dir := from; ; dir = filepath.Dir(dir) {
			text, _ := os.ReadFile(filepath.Join(dir, "go.mod")) // absent: look higher
			if strings.HasPrefix(string(text), "module "+modulePath+"\n") {
				return dir, nil
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return "", fmt.Errorf("found no checkout of %s above %s or %s: run this inside one", modulePath, cwd, filepath.Dir(self))
}

// binFolder finds our own programs: beside the running one, else in bin of the checkout.
func (r *Rack) binFolder() (string, error) {
	need := []string{"rack"} // it is also the rack's kubelet
	if !r.NoSteelyard {
		need = append(need, "controller", "speaker")
	} else if r.ControlPlanes > 0 {
		need = append(need, "speaker")
	}
	dir := filepath.Join(r.Root, "bin")
	if self, err := os.Executable(); err == nil && filepath.Base(self) == "rack" {
		dir = filepath.Dir(self)
	}
	for _, name := range need {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return "", fmt.Errorf("there is no %s: run \"make build\" first", filepath.Join(dir, name))
		}
	}
	return dir, nil
}

// checkMachine tells what this machine lacks, all of it at once.
func (r *Rack) checkMachine() error {
	if os.Geteuid() != 0 {
		return errors.New("a rack is made of network namespaces, which only root may make: run this as root")
	}
	if _, err := os.Stat("/proc/sys/net/ipv6"); err != nil {
		return errors.New("this kernel has no IPv6, which a rack needs")
	}
	need := map[string]string{"ip": "iproute2", "sysctl": "procps", "unshare": "util-linux", "setpriv": "util-linux"}
	switch r.Router {
	case "bird":
		need["bird"] = "bird2"
	case "frr":
		need[frrFolder+"/bgpd"] = "frr"
	}
	need[map[string]string{"nftables": "nft", "iptables": "iptables"}[r.proxyMode()]] = r.proxyMode()
	var programs, packages []string
	for program, pkg := range need {
		if _, err := exec.LookPath(program); err != nil {
			programs, packages = append(programs, program), append(packages, pkg)
		}
	}
	if len(programs) > 0 {
		return fmt.Errorf("not found: %s; on Debian: apt-get install -y %s", strings.Join(programs, ", "), strings.Join(packages, " "))
	}
	return nil
}
