package main

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/printable"
)

// TestWhatATenantWritesIsShownShortAndSafe has one Service for each annotation that
// we read or speak of, as hostile as the API server lets it be.
func TestWhatATenantWritesIsShownShortAndSafe(t *testing.T) {
	for name, text := range map[string]string{
		"a quarter of a megabyte of controls": strings.Repeat("\x01", 255000),
		"just below what is not read":         strings.Repeat("\x01", 1000),
		"a line of its own":                   "x\r\n\u0085\u2028\u2029\x1b[2J\u202e\xff",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newRig(t, poolOf("lan", "10.0.0.1"))
				for at, key := range []string{v1beta1.AnnotationLoadBalancerIPs, v1beta1.AnnotationAddressPool, v1beta1.AnnotationAllowSharedIP, v1beta1.AnnotationPool, v1beta1.Group + "/slip"} {
					svc := waiting(strings.ToLower(strings.TrimPrefix(key, v1beta1.Group+"/")), int64(at))
					svc.Annotations = map[string]string{key: text}
					if err := b.client.Create(t.Context(), svc); err != nil {
						t.Fatal(err)
					}
				}
				b.settle(t)
				for _, n := range b.notes {
					words := b.words(t, n.About.Name)
					if words == "" || !printable.Is(words) || len(words) > printable.MaxMessage {
						t.Errorf("Service %s: the condition has %d bytes: %.200q", n.About.Name, len(words), words)
					}
				}
				if len(b.notes) < 5 {
					t.Errorf("%d Services have events", len(b.notes))
				}
			})
		})
	}
}

// TestManySlipsAreCounted: a Service may have thousands of annotations.
