package images

import (
	"bytes"
	"context"
	_ "embed" // the scripts
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const suite = "bookworm"

// nodePackages are those of kind's own node image, without what network and
// fuse file systems need, and with what a story looks at a node with.
var nodePackages = []string{
	"systemd-sysv", "conntrack", "iptables", "nftables", "iproute2", "ethtool", "util-linux", "mount", "kmod", "libseccomp2",
	"e2fsprogs", "bash", "ca-certificates", "curl", "jq", "procps", "tcpdump", "iputils-arping", "iputils-ping", "ndisc6",
}

// toolsPackages are what kube-proxy calls, what Kubernetes' tests call in
// agnhost's image, a router, and what a client tests a network with.
var toolsPackages = []string{
	"bind9-dnsutils", "ca-certificates", "conntrack", "curl", "frr", "iperf3", "iproute2", "iptables", "iputils-arping",
	"iputils-ping", "kmod", "ndisc6", "netcat-openbsd", "nftables", "procps", "tcpdump", "wget",
}

// The scripts run when the packages are there; $1 is the root.
var (
	//go:embed node.sh
	nodeScript string
	//go:embed tools.sh
	toolsScript string
)

// debian makes a layer of Debian packages and what they need.
func (b *Builder) debian(ctx context.Context, name string, packages []string, script string) (layer, error) {
	args := []string{"--mode=root", "--variant=minbase", `--aptopt=APT::Install-Recommends "false"`, "--include=" + strings.Join(packages, ","),
		"--customize-hook=" + script}
	key := sum(append(args, suite)...)
	path := filepath.Join(b.cache, "debian-"+name+"-"+key+".tar")
	if l, err := openLayer(key, path); err == nil {
		return l, nil
	}
	mmdebstrap, err := exec.LookPath("mmdebstrap")
	if err != nil {
		return layer{}, fmt.Errorf("images are built with mmdebstrap, which \"make kind-images\" installs: %w", err)
	}
	b.Log("installing %d packages of Debian %s for %s (once; about 1 min) …", len(packages), suite, name)
	args = append(args, suite, path+".new.tar")
	if mirror := os.Getenv("DEBIAN_MIRROR"); mirror != "" {
		args = append(args, mirror)
	}
	var errors bytes.Buffer
	cmd := exec.CommandContext(ctx, mmdebstrap, args...)
	cmd.Stderr = &errors
	if err := cmd.Run(); err != nil {
		return layer{}, fmt.Errorf("install Debian for %s: %w\n%s", name, err, errors.Bytes())
	}
	if err := os.Rename(path+".new.tar", path); err != nil {
		return layer{}, err
	}
	return openLayer(key, path)
}
