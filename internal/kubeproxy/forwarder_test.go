package kubeproxy

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
)

func TestFormer(t *testing.T) {
	for _, c := range []struct {
		name     string
		reported map[string]string
		want     string
	}{
		{"no Speaker has reported", nil, ""},
		{"a node's own report counts first", map[string]string{"n": "None", "a": "ReadyCheck"}, "None"},
		{"a new node is taken for like the others", map[string]string{"n": "", "a": "Cilium", "b": "Cilium", "c": ""}, "Cilium"},
		{"unless they differ", map[string]string{"a": "Cilium", "b": "ReadyCheck"}, ""},
	} {
		if got := Former("n", c.reported); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// A program is there, away, or says that it is not well.
type fakeProgram struct {
	*httptest.Server
	code atomic.Int32
}

func (p *fakeProgram) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(int(p.code.Load()))
}

func startProgram(t *testing.T) (*fakeProgram, program) {
	p := &fakeProgram{}
	p.code.Store(http.StatusOK)
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p, program{name: v1beta1.ForwarderCilium, port: uint16(p.Listener.Addr().(*net.TCPAddr).Port), path: "/healthz"}
}

func TestWhatForwardsWhereNothingListens(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	cilium, known := startProgram(t)
	start := time.Unix(1000, 0)
	w := forwarder{known: []program{known}}
	for _, step := range []struct {
		name   string
		do     func()
		after  time.Duration
		booted bool
		by     string
		err    bool
	}{
		{"a node that boots waits for kube-proxy although Cilium is there", nil, 0, false, "", true},
		{"on one that is up Cilium forwards", nil, 0, true, v1beta1.ForwarderCilium, false},
		{"what it says counts", func() { cilium.code.Store(http.StatusServiceUnavailable) }, time.Hour, true, v1beta1.ForwarderCilium, true},
		{"kube-proxy comes, and ends", func() { w.answered() }, time.Hour, true, v1beta1.ForwarderReadyCheck, true},
		{"for a minute it may come back", nil, time.Hour + awayFor - 1, true, v1beta1.ForwarderReadyCheck, true},
		{"then it is gone", func() { cilium.code.Store(http.StatusOK) }, time.Hour + awayFor, true, v1beta1.ForwarderCilium, false},
		{"Cilium ends as well", cilium.Close, 3 * time.Hour, true, v1beta1.ForwarderCilium, true},
		{"and is gone", nil, 3*time.Hour + awayFor, true, v1beta1.ForwarderNone, true},
	} {
		if step.do != nil {
			step.do()
		}
		err := w.instead(t.Context(), refused, start.Add(step.after), step.booted)
		if w.name != step.by || (err != nil) != step.err {
			t.Errorf("%s: %q and %v", step.name, w.name, err)
		}
	}
	if !absent(refused) || absent(errors.New("503")) || absent(nil) {
		t.Error("only what does not listen is absent")
	}
}
