package main

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/planner"
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
func noteOf(svc *corev1.Service, c planner.Change) cluster.Note {
	n := cluster.Note{About: cluster.About(svc), Type: corev1.EventTypeNormal, Reason: c.Allocated.Reason, Message: c.Allocated.Message}
	if c.Allocated.Status == metav1.ConditionFalse {
		n.Type = corev1.EventTypeWarning
	}
	if c.Moved != "" {
		n.Message = fmt.Sprintf("%s (%s)", n.Message, c.Moved)
	}
	return n
}
