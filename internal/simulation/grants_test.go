package simulation

import (
	"context"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/planner"
)

// TestGrants runs histories in which controllers give out addresses.
func TestGrants(t *testing.T) { runAll(t, RandomGrants, *grantSeeds) }

// controllerMutations break what the controllers do, each in one way.
func controllerMutations() map[string]mistakes {
	return map[string]mistakes{
		"does not catch up":                  {rash: true},
		"goes on when its Lease has run out": {endless: true},
		"writes whatever the version is":     {unversioned: true},
		"forgets the writes under way":       {before: func(c *controller, _ *planner.Input) { c.state = planner.New(nil, c.state.Finalizer()) }},
		"takes a lost answer for a refusal": {answer: func(err error) error {
			if errors.Is(err, context.DeadlineExceeded) {
				return apierrors.NewForbidden(serviceResource, "", err)
			}
			return err
		}},
		"gives what is kept":                           {before: func(c *controller, in *planner.Input) { in.Configured = c.world.configured(&c.cache.table, true) }},
		"does not look who leaves while another leads": {blind: true},
		"does not say what is kept":                    {silent: true},
		"does not know who has changed": {before: func(_ *controller, in *planner.Input) {
			for i, svc := range in.Services {
				svc = svc.DeepCopy()
				meta.RemoveStatusCondition(&svc.Status.Conditions, v1beta1.ConditionSharing)
				in.Services[i] = svc
			}
		}},
		"does not see what others have": {before: func(_ *controller, in *planner.Input) {
			for i, svc := range in.Services {
				svc = svc.DeepCopy()
				svc.Status = corev1.ServiceStatus{}
				in.Services[i] = svc
			}
		}},
	}
}

// TestControllerMutations shows that the rules find what is broken on purpose.
func TestControllerMutations(t *testing.T) {
	all := controllerMutations()
	for _, name := range sortedKeys(all) {
		t.Run(name, func(t *testing.T) {
			mutation{name: name, controller: all[name]}.find(t, RandomGrants, func(h History) bool { return h.Nodes == 0 })
		})
	}
}
