// Package node is what a speaker with static claims reads and sets on its own node: the file of
// claims, whether the API server on the node is ready, and the addresses on the loopback
// interface, so that the kernel delivers what arrives for them. It decides nothing about who
// announces an address.
package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/steelyard-lb/steelyard/internal/static"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

// rereadInterval is how often the file is read again, and what it names.
const rereadInterval = time.Second

// File is a file of static claims, which is read again when it changes. Make one with Open.
type File struct {
	name, self string
	log        *slog.Logger
	config     atomic.Pointer[static.Config]
	problem    string
	changed    chan struct{} // buffered 1
}

// Open reads a file for the node self. An error says what is wrong with it.
func Open(name, self string, log *slog.Logger) (*File, error) {
	f := &File{name: name, self: self, log: log, changed: make(chan struct{}, 1)}
	c, err := f.read()
	f.config.Store(&c)
	return f, err
}

// Await is Open, but it waits for files that do not exist yet until ctx ends: the node may still be
// set up.
func Await(ctx context.Context, name, self string, log *slog.Logger) (*File, error) {
	for said := ""; ; {
		f, err := Open(name, self, log)
		if !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
		if said != err.Error() {
			said = err.Error()
			log.Warn("waiting for a file", "err", err)
		}
		if !wait.Sleep(ctx, rereadInterval) {
			return f, err
		}
	}
}

func (f *File) read() (static.Config, error) {
	text, err := os.ReadFile(f.name)
	if err != nil {
		return static.Config{}, fmt.Errorf("--static-claims: %w", err)
	}
	c, err := static.Parse(text, f.self, os.ReadFile)
	if err != nil {
		return c, fmt.Errorf("--static-claims: %s: %w", f.name, err)
	}
	return c, nil
}

// Config returns what the file said when it was last valid. It must not be changed.
func (f *File) Config() *static.Config { return f.config.Load() }

// Changed gets a value after Config has changed.
func (f *File) Changed() <-chan struct{} { return f.changed }

// Run reads the file again and again until ctx ends. While it is not valid, what it said before
// stays in force.
func (f *File) Run(ctx context.Context) error {
	for wait.Sleep(ctx, rereadInterval) {
		f.reread()
	}
	return nil
}

func (f *File) reread() {
	c, err := f.read()
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	if problem != "" && problem != f.problem {
		f.log.Error("what the file said before stays in force", "err", err)
	}
	f.problem = problem
	if err != nil || reflect.DeepEqual(*f.config.Load(), c) {
		return
	}
	f.log.Info("the file of static claims has changed", "addresses", c.Addrs, "nodes", len(c.Nodes), "routers", len(c.Routers))
	f.config.Store(&c)
	wait.Signal(f.changed)
}
