package announced

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func says(status metav1.ConditionStatus, reason, message string) metav1.Condition {
	return metav1.Condition{Status: status, Reason: reason, Message: message}
}

// TestSettle runs a Service's life, a look a line: what would be best to say then, and
// whether that is due.
func TestSettle(t *testing.T) {
	yes, pending := says("True", "Announced", "on the local network"), says("Unknown", "Pending", "none")
	no, other, more := says("False", "NoLinkUp", "1 node"), says("False", "NodeExcluded", "1 node"), says("False", "NoLinkUp", "2 nodes")
	refused := says("True", "NoEndpointsForPort", "on the local network; but no endpoint has port 80/TCP")
	type look struct {
		at   time.Duration
		want metav1.Condition
		due  bool
	}
	for _, c := range []struct {
		name  string
		shown metav1.Condition
		looks []look
	}{
		{"it is announced at once", pending, []look{{0, yes, true}}},
		{"a port without endpoints counts when it has been so", yes, []look{{0, refused, false}, {settle - 1, refused, false}, {settle, refused, true}}},
		{"which a rolling update is not", yes, []look{{0, refused, false}, {time.Second, yes, true}, {settle, refused, false}}},
		{"that it has endpoints counts at once", refused, []look{{0, yes, true}}},
		{"that it is not announced counts later", refused, []look{{0, no, false}, {settle, no, true}}},
		{"a Service of a former version", metav1.Condition{}, []look{{0, yes, true}}},
		{"one that never was announced", pending, []look{{0, no, false}, {settle - 1, no, false}, {settle, no, true}}},
		{"its address moves", yes, []look{{0, no, false}, {time.Second, pending, false}, {2 * time.Second, yes, true}, {4 * time.Second, no, false}}},
		{"the reasons change while it is not announced", yes, []look{{0, no, false}, {settle - 1, other, false}, {settle, other, true}, {2 * settle, other, true}}},
		{"another reason", no, []look{{0, other, false}, {settle, other, true}}},
		{"other words wait longer", no, []look{{0, more, false}, {settle, more, false}, {rewording, more, true}}},
		{"other words that do not stand", no, []look{{0, more, false}, {rewording - 1, no, true}, {rewording, more, false}}},
		{"words of what waits do not count", pending, []look{{time.Hour, says("Unknown", "Pending", "2 nodes"), false}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s Settler
			start, shown := time.Unix(0, 0), c.shown
			for _, l := range c.looks {
				s.Begin()
				now, again := s.Settle(start.Add(l.at), "u", shown, l.want)
				if due := now == l.want; due != l.due {
					t.Errorf("after %s: %v is due: %t, want %t", l.at, l.want, due, l.due)
				}
				if now != l.want && now != shown && now != plain(l.want) {
					t.Errorf("after %s: it says %v, which is neither what it said nor what it should say", l.at, now)
				}
				if now == l.want && again != 0 {
					t.Errorf("after %s: there is something to wait for, %s", l.at, again)
				}
			}
		})
	}
}

// That an address is announced waits for nothing, also if no endpoint has a port.
func TestAnnouncedComesBeforeWhatKeepsClientsOut(t *testing.T) {
	var s Settler
	s.Begin()
	refused := says("True", "NoEndpointsForPort", "on the local network; but no endpoint has port 80/TCP")
	have, again := s.Settle(time.Unix(0, 0), "u", says("Unknown", "Pending", "none"), refused)
	if have != says("True", "Announced", "on the local network") || again != settle {
		t.Errorf("%v, again in %s", have, again)
	}
}
