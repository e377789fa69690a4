package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"github.com/steelyard-lb/steelyard/e2e/lab/hosts"
)

// table holds the rack's processes.
func (r *Rack) table() hosts.Table {
	return hosts.Table{
		Prefix: r.ns(""), Folder: r.path(),
		Env: []string{"PATH=" + r.Kube + ":/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"},
	}
}

// Processes lists what was started on the rack, by host and name.
func (r *Rack) Processes() ([]hosts.Process, error) { return r.table().Processes() }

// Kill sends a signal to a process. After one that asks a process to end (KILL,
// TERM, INT, QUIT) it returns when the process has ended, or with an error after 10 s.
func (r *Rack) Kill(host, process string, sig syscall.Signal) error {
	return r.table().Kill(host, process, sig)
}

// Start starts a dead process again, with the arguments it had.
func (r *Rack) Start(host, process string) error { return r.table().Start(host, process) }

// Logs returns the log files of a process, of a host (empty process), or of
// the whole rack (empty host). Pods log under the host name "pods".
func (r *Rack) Logs(host, process string) ([]string, error) { return r.table().Logs(host, process) }

// Command prepares a command on a host: a host of Hosts, or pod- and the first
// 8 characters of a Pod's UID. It finds kubectl first in its PATH, then its
// plugin kubectl-steelyard, and the administrator's KUBECONFIG. An unknown host
// is an error when it is started.
func (r *Rack) Command(ctx context.Context, host string, argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", r.ns(host)}, argv...)...)
	// All racks have the same address: kubectl must not take what it found in one for another.
	cmd.Env = append(os.Environ(), "PATH="+r.Kube+":"+r.Bin+":"+os.Getenv("PATH"), "KUBECONFIG="+r.Kubeconfig(), "KUBECACHEDIR="+r.path("kubectl"))
	if !slices.Contains(hosts.List(r.Name+"-"), r.ns(host)) {
		var there []string
		for _, ns := range hosts.List(r.Name + "-") {
			there = append(there, strings.TrimPrefix(ns, r.Name+"-"))
		}
		cmd.Err = fmt.Errorf("no host %q in rack %s; there are %s", host, r.Name, strings.Join(there, ", "))
	}
	return cmd
}
