package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/steelyard-lb/steelyard/e2e/lab"
)

// audit follows every change of every Service in its order, and notes what must
// never be: one address shown by two Services at a time, an address that was
// shown and then changed or vanished. (No Service here asks to share one, or to
// have another.) It reads etcd, not the API server: a test that ends the API
// server would end its watches too, and what happens between two watches is
// what is looked for.
type audit struct {
	mu         sync.Mutex
	services   map[string]shown  // by namespace/name
	holder     map[string]string // Service by address
	complaints []string
}

// shown is what a Service shows.
type shown struct {
	addrs   []string
	settled bool // Allocated is True, and Announced is final
	writes  int  // how often it was written since it was made
}

func newAudit() *audit {
	return &audit{services: map[string]shown{}, holder: map[string]string{}}
}

// put notes a Service as it was written.
func (a *audit) put(name string, svc *corev1.Service) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before, known := a.services[name]
	now := shown{
		settled: settled(svc.Status.Conditions),
		writes:  before.writes,
	}
	if known {
		now.writes++
	}
	for _, i := range svc.Status.LoadBalancer.Ingress {
		now.addrs = append(now.addrs, i.IP)
		if other := a.holder[i.IP]; other != "" && other != name {
			a.complaints = append(a.complaints, fmt.Sprintf("%s is shown by %s while %s shows it", i.IP, name, other))
		}
		a.holder[i.IP] = name
	}
	if len(before.addrs) > 0 && !slices.Equal(before.addrs, now.addrs) {
		a.complaints = append(a.complaints, fmt.Sprintf("%s showed %q, and then %q", name, before.addrs, now.addrs))
		a.release(name, before.addrs, now.addrs)
	}
	a.services[name] = now
}

// gone notes that a Service was deleted.
func (a *audit) gone(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.release(name, a.services[name].addrs, nil)
	delete(a.services, name)
}

// release frees the addresses that a Service shows no more.
func (a *audit) release(name string, before, now []string) {
	for _, addr := range before {
		if !slices.Contains(now, addr) && a.holder[addr] == name {
			delete(a.holder, addr)
		}
	}
}

// settled reports whether conditions say that a Service has its address, and whether it
// is announced, which takes a further write some seconds later.
func settled(conditions []metav1.Condition) bool {
	announced := meta.FindStatusCondition(conditions, "steelyard.dev/Announced")
	return meta.IsStatusConditionTrue(conditions, "steelyard.dev/Allocated") && announced != nil && announced.Reason != "Pending"
}

// served counts the Services of a namespace that have an address, and whose conditions
// say all; waiting names some that don't.
func (a *audit) served(namespace string) (n int, waiting []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for name, s := range a.services {
		switch {
		case !strings.HasPrefix(name, namespace+"/"):
		case len(s.addrs) > 0 && s.settled:
			n++
		default:
			waiting = append(waiting, name)
		}
	}
	slices.Sort(waiting)
	return n, waiting[:min(5, len(waiting))]
}

// writes returns how often each Service of a namespace was written.
func (a *audit) writes(namespace string) map[string]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := map[string]int{}
	for name, s := range a.services {
		if strings.HasPrefix(name, namespace+"/") {
			out[name] = s.writes
		}
	}
	return out
}

// wrong returns what was noted since it was asked last, the first of it.
func (a *audit) wrong() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	first := a.complaints[:min(20, len(a.complaints))]
	a.complaints = nil
	return strings.Join(first, "\n")
}

func (a *audit) complain(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.complaints = append(a.complaints, fmt.Sprintf(format, args...))
}

// inEtcd is where the API server keeps Services.
const inEtcd = "/registry/services/specs/"

// etcdMessage is one message of a watch, in etcd's JSON.
type etcdMessage struct {
	Result struct {
		Created  bool
		Canceled bool
		Events   []struct {
			Type string // empty for PUT
			KV   struct{ Key, Value []byte }
		}
	}
}

// follow feeds the audit with what happens on a rack from now on, until the test ends.
func (a *audit) follow(t *testing.T, r *lab.Rack) {
	t.Helper()
	encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	request := fmt.Sprintf(`{"create_request":{"key":%q,"range_end":%q}}`, encode(inEtcd), encode(strings.TrimSuffix(inEtcd, "/")+"0"))
	ctx, cancel := context.WithCancel(context.Background()) // the test's own ends before its cleanup
	cmd := r.Command(ctx, "control", "curl", "-sSN", "http://127.0.0.1:2379/v3/watch", "-d", request)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	messages := json.NewDecoder(out)
	var first etcdMessage
	if err := messages.Decode(&first); err != nil || !first.Result.Created {
		t.Fatalf("watch etcd: %+v, %v", first, err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := a.read(messages); ctx.Err() == nil {
			a.complain("the audit ended early: %v", err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		_ = cmd.Wait() // it was killed
	})
}

// read feeds the audit until the messages end.
func (a *audit) read(messages *json.Decoder) error {
	for {
		var m etcdMessage
		if err := messages.Decode(&m); err != nil {
			return err
		}
		for _, e := range m.Result.Events {
			name := strings.TrimPrefix(string(e.KV.Key), inEtcd)
			if e.Type == "DELETE" {
				a.gone(name)
				continue
			}
			svc := &corev1.Service{}
			if _, _, err := scheme.Codecs.UniversalDeserializer().Decode(e.KV.Value, nil, svc); err != nil {
				return fmt.Errorf("decode Service %s: %w", name, err)
			}
			a.put(name, svc)
		}
		if m.Result.Canceled {
			return errors.New("etcd ended the watch")
		}
	}
}

// The audit itself is tried: it must complain about each thing that it is for.
func TestAudit(t *testing.T) {
	a := newAudit()
	put := func(name string, addrs ...string) {
		svc := &corev1.Service{}
		for _, ip := range addrs {
			svc.Status.LoadBalancer.Ingress = append(svc.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: ip})
			svc.Status.Conditions = []metav1.Condition{
				{Type: "steelyard.dev/Allocated", Status: metav1.ConditionTrue}, {Type: "steelyard.dev/Announced", Status: metav1.ConditionTrue, Reason: "Announced"},
			}
		}
		a.put("ns/"+name, svc)
	}
	check := func(want string) {
		t.Helper()
		if got := a.wrong(); got != want {
			t.Errorf("want the complaints %q, got %q", want, got)
		}
	}
	put("a")
	put("a", "192.0.2.1")
	put("b")
	put("b", "192.0.2.2")
	put("b", "192.0.2.2")
	check("")
	a.gone("ns/a")
	put("c", "192.0.2.1")
	check("")
	put("d", "192.0.2.2")
	check("192.0.2.2 is shown by ns/d while ns/b shows it")
	put("c", "192.0.2.3")
	check(`ns/c showed ["192.0.2.1"], and then ["192.0.2.3"]`)
	put("e", "192.0.2.1")
	check("")
	put("e")
	check(`ns/e showed ["192.0.2.1"], and then []`)
	if n, waiting := a.served("ns"); n != 3 || !slices.Equal(waiting, []string{"ns/e"}) {
		t.Errorf("want three served and ns/e waiting, got %d and %q", n, waiting)
	}
	if got := a.writes("ns"); got["ns/b"] != 2 || got["ns/c"] != 1 {
		t.Errorf("want two writes of b and one of c, got %v", got)
	}
}
