package main

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// say logs n, and has it sent as an event.
func (w *writer) say(n cluster.Note) {
	n.Action = "Allocate"
	w.log.Info("allocation changed", "service", n.About.Namespace+"/"+n.About.Name, "reason", n.Reason, "message", n.Message)
	w.tell(n)
}

func warn(svc *corev1.Service, reason, message string) cluster.Note {
	return cluster.Note{About: cluster.About(svc), Type: corev1.EventTypeWarning, Reason: reason, Message: message}
}

// noteOf says what has changed on a Service.
func noteOf(svc, before *corev1.Service, c change) cluster.Note {
	n := cluster.Note{About: cluster.About(svc), Type: corev1.EventTypeNormal, Reason: c.allocated.Reason, Message: c.allocated.Message}
	if c.allocated.Status == metav1.ConditionFalse {
		n.Type = corev1.EventTypeWarning
	}
	if held := intent.Holds(before); len(held) > 0 && c.moved != "" {
		n.Message = fmt.Sprintf("%s (held %s before: %s)", n.Message, join(held), c.moved)
	}
	return n
}
