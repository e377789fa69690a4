package planner

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// setPrefix has the status of a pool that follows a prefix show the one that is due, and whether its source has one.
func setPrefix(o *v1beta1.IPAddressPool, config *intent.Config, r Reports) {
	if !intent.FollowsPrefix(o) {
		o.Status.Prefix = nil
		meta.RemoveStatusCondition(&o.Status.Conditions, v1beta1.ConditionPrefixKnown)
		return
	}
	facts := intent.PrefixFacts{ConfigMaps: r.ConfigMaps, Nodes: r.Nodes, Speakers: r.Speakers}
	status, f := config.NextPrefix(o, facts, r.Now)
	o.Status.Prefix = status
	c := metav1.Condition{Type: v1beta1.ConditionPrefixKnown, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonPrefixKnown, Message: f.Message}
	if f.Reason != "" {
		c.Status, c.Reason = metav1.ConditionFalse, f.Reason
	}
	intent.SetCondition(&o.Status.Conditions, c)
}

// prefixChanged returns the event that a pool has another prefix.
func (c StatusChange) prefixChanged() []Event {
	before, was := c.Before.(*v1beta1.IPAddressPool)
	after, is := c.After.(*v1beta1.IPAddressPool)
	if !was || !is || after.Status.Prefix == nil || before.Status.Prefix == nil || after.Status.Prefix.Current == before.Status.Prefix.Current {
		return nil
	}
	text := fmt.Sprintf("%s replaces %s", after.Status.Prefix.Current, before.Status.Prefix.Current)
	for _, p := range after.Status.Prefix.Previous {
		if p.Prefix == before.Status.Prefix.Current {
			text += ", whose addresses stay until " + p.Until.UTC().Format(time.RFC3339)
		}
	}
	return []Event{{corev1.EventTypeNormal, "Configure", v1beta1.ReasonPrefixChanged, text}}
}
