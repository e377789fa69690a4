package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/source/adapter"
	"github.com/steelyard-lb/steelyard/internal/source/ledger"
)

// server is a ledger that a file keeps. What was answered is in the file.
type server struct {
	file    string
	pools   map[string][]ipam.Range
	changes adapter.Changes

	mu     sync.Mutex
	ledger *ledger.Ledger
}

// open reads the file; one that is not there is empty.
func open(file string, pools map[string][]ipam.Range) (*server, error) {
	s := &server{file: file, pools: pools}
	var held []ledger.Allocation
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, &held)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	s.ledger = ledger.New(pools, held)
	return s, nil
}

// keep writes the file, and wakes those who watch. If that fails the ledger is again what the file has.
func (s *server) keep(before []ledger.Allocation) error {
	data, err := json.MarshalIndent(s.ledger.All(), "", "  ")
	if err == nil {
		err = replace(s.file, data)
	}
	if err != nil {
		s.ledger = ledger.New(s.pools, before)
		return fmt.Errorf("write the file: %w", err)
	}
	s.changes.Notify()
	return nil
}

// replace writes a file so that a crash leaves the old or the new one.
func replace(file string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // it is there only if something failed
	_, err = f.Write(append(data, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}

// Allocate implements adapter.IPAM.
func (s *server) Allocate(_ context.Context, r ledger.Request) (ledger.Allocation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.ledger.All()
	a, changed, err := s.ledger.Allocate(r)
	if err == nil && changed {
		err = s.keep(before)
	}
	return a, err
}

// Release implements adapter.IPAM.
func (s *server) Release(cluster, uid string, a netip.Addr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.ledger.All()
	if !s.ledger.Release(cluster, uid, a) {
		return nil
	}
	return s.keep(before)
}

// List implements adapter.IPAM.
func (s *server) List(cluster string) []ledger.Allocation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ledger.List(cluster)
}

// Watch implements adapter.IPAM.
func (s *server) Watch(ctx context.Context, _ string, changed func() error) error {
	return s.changes.Follow(ctx, changed)
}
