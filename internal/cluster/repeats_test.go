package cluster

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// An event that repeats for ever is recorded for ever, but seldom, with the number of times it was
// not told: also if no two notes say the same.
func TestRepetitionsAreToldLessAndLess(t *testing.T) {
	for _, c := range []struct {
		name string
		text func(int) string
	}{
		{"always the same", func(int) string { return "it is dead" }},
		{"two texts in turn", func(i int) string { return []string{"it is dead", "it is refused"}[i%2] }},
		{"never the same", func(i int) string { return fmt.Sprint("at ", i) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reported, last, longest := 0, time.Now(), time.Duration(0)
				recorder, events := tellTo(t, func() error {
					if reported >= initialEvents {
						longest = max(longest, time.Since(last))
					}
					reported, last = reported+1, time.Now()
					return nil
				}, fine)
				const each, lasts = 2 * time.Second, 24 * time.Hour
				for i := range int(lasts / each) {
					recorder.Record(noteOn("a", c.text(i)))
					time.Sleep(each)
					if i == 30 && reported != initialEvents {
						t.Fatalf("%d were sent in the first minute, want %d", reported, initialEvents)
					}
				}
				if reported < 24 || reported > 52 || longest > longestPause+each {
					t.Errorf("%d were sent in a day, the longest pause is %s; want one an hour or more", reported, longest)
				}
				if all := events(); !strings.HasSuffix(all[len(all)-1].Note, " more since the last event)") {
					t.Errorf("the last one does not tell of those before: %s", all[len(all)-1].Note)
				}
			})
		})
	}
}

func TestWhatWasQuietForAnHourIsToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r repeats
		of := topic{name: "a"}
		for range 1000 {
			r.next(of, "", time.Now())
			time.Sleep(time.Second)
		}
		time.Sleep(longestPause)
		for i := range initialEvents {
			if held, send := r.next(of, "", time.Now()); !send || held != 0 {
				t.Errorf("number %d: sent %t, %d held", i, send, held)
			}
		}
	})
}

func TestTopicsAreToldEachForItself(t *testing.T) {
	var r repeats
	now := time.Unix(0, 0)
	for _, of := range []topic{{name: "a"}, {name: "b"}, {name: "a", namespace: "n"}, {name: "a", uid: "2"}, {name: "a", reason: "r"}, {name: "a", detail: "192.0.2.1"}} {
		for i := range 10 {
			if _, send := r.next(of, "", now); send != (i < initialEvents) {
				t.Errorf("%+v, number %d: sent %t", of, i, send)
			}
		}
	}
}

func TestANewKindIsToldAtOnce(t *testing.T) {
	var r repeats
	of, now := topic{name: "a"}, time.Unix(0, 0)
	for range 10 {
		r.next(of, "", now)
	}
	for i := range 100 {
		if held, send := r.next(of, fmt.Sprint(i), now); send != (i < maxKinds-1) || send && i == 0 && held != 10-initialEvents {
			t.Errorf("kind %d: sent %t, %d held", i, send, held)
		}
	}
}

func TestTopicsAreForgotten(t *testing.T) {
	var r repeats
	now := time.Unix(0, 0)
	for i := range 2 * maxTopics {
		if _, send := r.next(topic{name: fmt.Sprint(i)}, "", now); send != (i < maxTopics) {
			t.Fatalf("topic %d: sent %t", i, send)
		}
	}
	if len(r.of) != maxTopics {
		t.Errorf("%d topics are remembered, want %d", len(r.of), maxTopics)
	}
	r.next(topic{name: "last"}, "", now.Add(longestPause+time.Second))
	if len(r.of) != 1 {
		t.Errorf("%d topics are remembered an hour later", len(r.of))
	}
}

func TestALongNoteKeepsItsCount(t *testing.T) {
	n := pending{Event: Event{Message: strings.Repeat("ü", maxMessage)}, held: 7}
	if text := n.text(); len(text) > maxMessage || !strings.HasSuffix(text, " bytes more) (7 more since the last event)") {
		t.Errorf("%d bytes: %s", len(text), text)
	}
}

func TestManyHostsDontTellAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := map[time.Duration]int{}
		start := time.Now()
		recorders := make([]*EventRecorder, 200)
		for i := range recorders {
			recorders[i] = NewEventRecorder(nil, slog.New(slog.DiscardHandler), "program", fmt.Sprint("host", i))
		}
		for time.Since(start) < 3*time.Hour {
			for _, recorder := range recorders {
				recorder.Record(noteOn("a", "it is dead"))
				sent[time.Since(start)/time.Minute] += len(recorder.events)
				recorder.events = nil
			}
			time.Sleep(5 * time.Second)
		}
		for minute, n := range sent {
			if minute > 0 && n >= 60 {
				t.Errorf("%d events in minute %d", n, minute)
			}
		}
	})
}
