// Command bounded stands before runc: it takes out of what a container is to
// have what this process couldn't give, and becomes the real runc. Where a
// machine, or the container that plays one, lacks a capability, runc would
// else refuse every privileged container ("unable to apply caps").
//
// It stands in the PATH, or in a container engine's configuration, under any
// name. The real one is /usr/local/libexec/runc, or else the runc in the PATH.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// beside is where an image that has this program as its runc keeps the real one.
const beside = "/usr/local/libexec/runc"

func main() {
	fmt.Fprintf(os.Stderr, "bounded: %v\n", become(os.Args[1:]))
	os.Exit(1)
}

// become fits what the command line names, and becomes runc; it returns if it can't.
func become(args []string) error {
	runc := beside
	if _, err := os.Stat(runc); err != nil {
		if runc, err = exec.LookPath("runc"); err != nil {
			return err
		}
	}
	if file, at := specification(args); file != "" {
		own, err := ownLimits()
		if err != nil {
			return err
		}
		if err := own.rewrite(file, at); err != nil {
			return err
		}
	}
	return fmt.Errorf("become %s: %w", runc, syscall.Exec(runc, append([]string{"runc"}, args...), os.Environ()))
}

// specification finds in runc's command line the file that says what a process
// may do, and the member of it that does; empty: the command starts none.
func specification(args []string) (file string, at string) {
	value := func(long, short string) string {
		for i, a := range args {
			if v, ok := strings.CutPrefix(a, long+"="); ok {
				return v
			}
			if (a == long || a == short) && i+1 < len(args) {
				return args[i+1]
			}
		}
		return ""
	}
	for _, a := range args {
		switch a {
		case "create", "run", "restore":
			return filepath.Join(value("--bundle", "-b"), "config.json"), "process"
		case "exec":
			return value("--process", "-p"), ""
		}
	}
	return "", ""
}
