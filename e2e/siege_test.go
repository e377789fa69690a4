package e2e

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/steelyard-lb/steelyard/e2e/lab"
)

// siege is a rack whose controllers, or whose API server, fail while Services
// arrive.
type siege struct {
	*testing.T
	rack   *lab.Rack
	client *kubernetes.Clientset
	audit  *audit
	random *rand.Rand
	made   *atomic.Int64 // Services, so far
}

// upTo returns a random time.
func (s siege) upTo(most time.Duration) time.Duration {
	return time.Duration(s.random.Int64N(int64(most)))
}

// within returns somewhere within a burst of n Services: as soon as a random
// number of those who wait have been served.
func (s siege) within(n int) {
	start, _ := s.audit.served(faultsNamespace)
	goal := start + s.random.IntN(n)
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if now, _ := s.audit.served(faultsNamespace); now > goal {
			return
		}
	}
}

func (s siege) kill(process string, sig syscall.Signal) {
	s.Helper()
	if err := s.rack.Kill("control", process, sig); err != nil {
		s.Fatal(err)
	}
}

func (s siege) start(process string) {
	s.Helper()
	if err := s.rack.Start("control", process); err != nil {
		s.Fatal(err)
	}
}

func (s siege) delay(d time.Duration) {
	s.Helper()
	if err := s.rack.Delay(d); err != nil {
		s.Fatal(err)
	}
}

// wait polls until there is no complaint, for a minute at most.
func (s siege) wait(what string, ready func() error) {
	s.Helper()
	start := time.Now()
	logged := start
	for {
		err := ready()
		if err == nil {
			s.Logf("%s after %.1fs", what, time.Since(start).Seconds())
			return
		}
		if time.Since(start) > time.Minute {
			s.Fatalf("not %s after a minute: %v", what, err)
		}
		if time.Since(logged) > 5*time.Second {
			s.Logf("not yet %s: %v", what, err)
			logged = time.Now()
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// active waits until one replica of the controller is active, and returns it.
func (s siege) active() (name string) {
	s.Helper()
	s.wait("one controller is active", func() (err error) {
		name, err = s.rack.ActiveController(s.Context())
		return err
	})
	return name
}

// controllers returns the process ids of the controllers that have not exited.
func (s siege) controllers() map[string]int {
	s.Helper()
	all, err := s.rack.Processes()
	if err != nil {
		s.Fatal(err)
	}
	pids := map[string]int{}
	for _, p := range all {
		if slices.Contains(s.rack.Controllers(), p.Name) && p.State() != "dead" {
			pids[p.Name] = p.PID
		}
	}
	return pids
}

// same checks that no controller has exited.
func (s siege) same(before map[string]int) {
	s.Helper()
	if now := s.controllers(); !maps.Equal(before, now) {
		s.Errorf("a controller has exited: there were %v, and there are %v", before, now)
	}
}

// burst begins to make Services, many at once; join returns when they are made.
// A creation that fails is tried again, for the API server may be away.
func (s siege) burst(prefix string, n int) (join func()) {
	ctx, cancel := context.WithTimeout(s.Context(), 2*time.Minute)
	done := make(chan error, 1)
	go func() {
		var creations errgroup.Group
		creations.SetLimit(16)
		for i := range n {
			creations.Go(func() error { return s.create(ctx, fmt.Sprintf("%s-%d", prefix, i)) })
		}
		done <- creations.Wait()
	}()
	start := time.Now()
	return func() {
		s.Helper()
		defer cancel()
		if err := <-done; err != nil {
			s.Fatal(err)
		}
		s.Logf("%d Services %s made within %.1fs", n, prefix, time.Since(start).Seconds())
	}
}

func (s siege) create(ctx context.Context, name string) error {
	no := false
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: faultsNamespace},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, AllocateLoadBalancerNodePorts: &no,
			Selector: map[string]string{"app": "none"}, Ports: []corev1.ServicePort{{Port: 80}},
		},
	}
	for {
		_, err := s.client.CoreV1().Services(faultsNamespace).Create(ctx, svc, metav1.CreateOptions{})
		if err == nil || apierrors.IsAlreadyExists(err) {
			s.made.Add(1)
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("create Service %s: %w", name, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// progress tells how many are served.
func (s siege) progress() string {
	n, _ := s.audit.served(faultsNamespace)
	return fmt.Sprintf("%d of %d served", n, s.made.Load())
}

// served waits until every Service has its address and says so.
func (s siege) served() {
	s.Helper()
	s.wait("every Service is served", func() error {
		n, waiting := s.audit.served(faultsNamespace)
		if int64(n) == s.made.Load() {
			return nil
		}
		return fmt.Errorf("%d of %d; waiting are %s, …", n, s.made.Load(), strings.Join(waiting, ", "))
	})
}

// hold makes sure that there are at least n Services, and that all are served.
func (s siege) hold(n int64) {
	s.Helper()
	if more := n - s.made.Load(); more > 0 {
		s.burst("held", int(more))()
	}
	s.active()
	s.served()
}

// unwritten checks that no Service was written since its count of writes was taken.
func (s siege) unwritten(before map[string]int) {
	s.Helper()
	now := s.audit.writes(faultsNamespace)
	n := 0
	for name, writes := range before {
		if extra := now[name] - writes; extra > 0 {
			if n++; n <= 5 {
				s.Errorf("%s had all that it needs, and was written %d times", name, extra)
			}
		}
	}
	if n > 5 {
		s.Errorf("%d Services that had all they need were written", n)
	}
}

// check fails the test for what the audit noted, and compares what it saw with
// what the API server shows.
func (s siege) check() {
	s.Helper()
	all, err := s.client.CoreV1().Services(faultsNamespace).List(s.Context(), metav1.ListOptions{})
	if err != nil {
		s.Fatal(err)
	}
	n, _ := s.audit.served(faultsNamespace)
	if len(all.Items) != n || int64(n) != s.made.Load() {
		s.Errorf("%d Services were made, the API server has %d, and the audit saw %d served", s.made.Load(), len(all.Items), n)
	}
	if wrong := s.audit.wrong(); wrong != "" {
		s.Errorf("this must never be:\n%s", wrong)
	}
}

// tellControllers shows what the controllers logged last.
func (s siege) tellControllers() {
	for _, name := range s.rack.Controllers() {
		logs := programPath("rack") + " logs --name " + s.rack.Name + " control " + name + " | tail -n 40"
		out, err := exec.Command("sh", "-c", logs).CombinedOutput()
		s.Logf("what %s logged last: %v\n%s", name, err, out)
	}
}
