package main

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// knownServices keeps from pass to pass what is read of each Service: between two passes few
// of thousands change. A Service that has changed has another place in memory. The zero value
// is ready for use.
type knownServices struct {
	config *intent.Config // by which addrs are read
	passes uint64
	all    map[*corev1.Service]*knownService
	sorted []*knownService // those that may be announced, by name
}

// knownService is one Service, as the last pass saw it.
type knownService struct {
	svc    *corev1.Service
	key    ipam.Key
	seen   uint64 // the last pass that saw it
	addrs  []announce.Address
	always bool // it was announced whether it had endpoints or not
}

func (k *knownService) local() bool { return intent.Local(k.svc) }

func (k *knownService) compare(l *knownService) int { return k.key.Compare(l.key) }

// update returns those of all Services that may be announced, sorted by name. They are valid
// until the next call.
func (s *knownServices) update(all []*corev1.Service, class string, config *intent.Config) []*knownService {
	if s.all == nil {
		s.all = make(map[*corev1.Service]*knownService, len(all))
	}
	s.passes++
	var arrived []*knownService
	for _, svc := range all {
		k := s.all[svc]
		if k == nil {
			k = &knownService{svc: svc, key: intent.KeyOf(svc)}
			s.all[svc] = k
			if intent.Announceable(svc, class) {
				arrived = append(arrived, k)
			}
		}
		k.seen = s.passes
	}
	for _, k := range arrived {
		if i, was := slices.BinarySearchFunc(s.sorted, k, (*knownService).compare); was {
			k.always = s.sorted[i].always
		}
	}
	if len(s.all) > len(all) {
		maps.DeleteFunc(s.all, func(_ *corev1.Service, k *knownService) bool { return k.seen != s.passes })
		s.sorted = slices.DeleteFunc(s.sorted, func(k *knownService) bool { return k.seen != s.passes })
	}
	slices.SortFunc(arrived, (*knownService).compare)
	for _, k := range arrived {
		i, _ := slices.BinarySearchFunc(s.sorted, k, (*knownService).compare)
		s.sorted = slices.Insert(s.sorted, i, k)
	}
	read := arrived
	if s.config != config {
		s.config, read = config, s.sorted
	}
	for _, k := range read {
		k.addrs = config.Addresses(k.svc)
	}
	return s.sorted
}
