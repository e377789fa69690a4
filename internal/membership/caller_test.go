package membership

import (
	"net/netip"
	"testing"
	"time"
)

// A sender with a speaker's signature that is no member is reported once in a while, and no longer when it is
// one.
func TestACallerIsToldOf(t *testing.T) {
	now := time.Unix(100, 0)
	s := NewState("n1", 1)
	members := []Member{{Name: "n1"}, {Name: "n2"}}
	s.SetMembers(now, members, 400*time.Millisecond)
	s.Ready()
	for _, c := range []struct {
		after time.Duration
		stale bool
	}{{0, true}, {500 * time.Millisecond, false}, {callInterval, true}} {
		at := now.Add(c.after)
		s.Step(at, Message{From: "n3", Updates: []update{{Member: "n2", Incarnation: 9, Standing: Dead}}})
		if o := s.Ready(); o.Stale != c.stale {
			t.Errorf("after %s: told %t", c.after, o.Stale)
		}
	}
	if v := s.View(); !v.Callers["n3"].Equal(now.Add(callInterval)) || v.Standing["n2"] != Unknown {
		t.Errorf("the callers are %v, n2 is %s", v.Callers, v.Standing["n2"])
	}
	s.SetMembers(now.Add(2*time.Second), append(members, Member{Name: "n3"}), 400*time.Millisecond)
	if v := s.View(); len(v.Callers) > 0 {
		t.Errorf("a member is a caller: %v", v.Callers)
	}
}

func TestHeard(t *testing.T) {
	segment := netip.MustParsePrefix("203.0.113.0/24")
	v := View{
		Standing: map[string]Standing{"alive": Alive, "restarts": Restarting, "dead": Dead, "unknown": Unknown, "down": Alive, "apart": Alive},
		Down:     map[string]time.Time{"dead": {}, "down": {}},
		Segments: map[netip.Prefix]View{segment: {Standing: map[string]Standing{"alive": Alive, "apart": Dead}}},
	}
	for name, want := range map[string]bool{"alive": true, "restarts": true, "dead": false, "unknown": false, "down": false, "apart": false, "other": false} {
		if v.Heard(name) != want {
			t.Errorf("%s: heard is %t", name, !want)
		}
	}
}
