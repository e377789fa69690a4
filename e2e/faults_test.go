package e2e

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/steelyard-lb/steelyard/e2e/lab"
)

var seed = flag.Uint64("seed", 0, "what decides when the faults strike; 0: a new one, which is printed")

const (
	faultsNamespace = "faults"
	faultsPool      = `
apiVersion: steelyard.dev/v1beta1
kind: IPAddressPool
metadata: {name: faults}
spec: {addresses: [10.99.0.0/16]}`
)

// TestFaults does harm to the controllers and to the API server while Services
// arrive. Afterwards every Service is served, and at no time did two show one
// address, or one lose or change what it had.
func TestFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("takes minutes: leases run out, servers stand still")
	}
	inLane(t)
	s := newSiege(t, rackFor(t, "--router none --nodes 1 --controllers 2 --relay"))
	for _, fault := range []struct {
		name string
		run  func(siege)
	}{
		{"the active controller is killed again and again", siege.killedAgainAndAgain},
		{"the API server stands still", siege.serverStandsStill},
		{"both controllers start over with a slow API server", siege.slowStart},
		{"a former leader wakes up late", siege.formerLeaderWakes},
		{"the API server is killed and started again", siege.serverStartsOver},
	} {
		t.Run(fault.name, func(t *testing.T) {
			s.T = t
			t.Cleanup(func() {
				if t.Failed() {
					s.tellControllers()
				}
				repair(t, s.rack)
				s.delay(0)
			})
			s.hold(500) // so that there is something to lose
			fault.run(s)
			s.check()
		})
	}
}

func newSiege(t *testing.T, name string) siege {
	t.Helper()
	chance := *seed
	if chance == 0 {
		chance = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed %d", chance)
	s := siege{T: t, audit: newAudit(), random: rand.New(rand.NewPCG(chance, 0)), made: new(atomic.Int64)}
	var err error
	if s.rack, err = lab.Open(name); err != nil {
		t.Fatal(err)
	}
	config, err := s.rack.Config()
	if err != nil {
		t.Fatal(err)
	}
	if s.client, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	s.audit.follow(t, s.rack)
	if _, err := kubectl(t, name, faultsPool, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	if _, err := kubectl(t, name, "", "create", "namespace", faultsNamespace); err != nil {
		t.Fatal(err)
	}
	return s
}

// killedAgainAndAgain kills the active replica in the midst of each of four
// bursts, and starts it again some seconds later, as a kubelet does.
func (s siege) killedAgainAndAgain() {
	var joins []func()
	for i := range 4 {
		active := s.active()
		joins = append(joins, s.burst(fmt.Sprintf("killed-%d", i), 250))
		s.within(250)
		s.Logf("killing %s, with %s", active, s.progress())
		s.kill(active, syscall.SIGKILL)
		time.Sleep(time.Second + s.upTo(3*time.Second))
		s.start(active)
	}
	for _, join := range joins {
		join()
	}
	s.served()
}

// serverStandsStill stops the API server for much longer than a Lease lasts,
// and for about as long: then the leader gives up while the other one takes over.
func (s siege) serverStandsStill() {
	before := s.controllers()
	for i, pause := range []time.Duration{20 * time.Second, 5*time.Second + s.upTo(4*time.Second), 5*time.Second + s.upTo(4*time.Second)} {
		join := s.burst(fmt.Sprintf("still%d", i), 300)
		s.within(300)
		s.Logf("the API server stands still for %s, with %s", pause.Round(time.Millisecond), s.progress())
		s.kill("kube-apiserver", syscall.SIGSTOP)
		time.Sleep(pause)
		s.kill("kube-apiserver", syscall.SIGCONT)
		s.Log("the API server goes on")
		join()
		s.served()
	}
	s.same(before)
}

// slowStart starts both replicas while all that passes between them and the API
// server takes half a second. What they find is left as it is.
func (s siege) slowStart() {
	held := s.audit.writes(faultsNamespace)
	for _, name := range s.rack.Controllers() {
		s.kill(name, syscall.SIGKILL)
	}
	s.delay(500 * time.Millisecond)
	joins := []func(){s.burst("away", 50)}
	for _, name := range s.rack.Controllers() {
		s.start(name)
	}
	for i := range 5 { // some arrive while they start, some later
		time.Sleep(time.Second)
		joins = append(joins, s.burst(fmt.Sprintf("slow-%d", i), 10))
	}
	for _, join := range joins {
		join()
	}
	s.served()
	s.unwritten(held)
}

// formerLeaderWakes stops the active replica in the midst of a burst; the other
// takes over. The first wakes up while more Services arrive: for a moment it
// believes that it is still active, and what it remembers is long over.
func (s siege) formerLeaderWakes() {
	before, former := s.controllers(), s.active()
	join := s.burst("asleep", 300)
	s.within(300)
	s.kill(former, syscall.SIGSTOP)
	s.Logf("%s sleeps, with %s", former, s.progress())
	join()
	s.served()
	held := s.audit.writes(faultsNamespace)
	s.Logf("%s is active", s.active())
	join = s.burst("awake", 300)
	s.within(300)
	s.kill(former, syscall.SIGCONT)
	s.Logf("%s wakes up, with %s", former, s.progress())
	join()
	s.served()
	time.Sleep(3 * time.Second) // in which it could do harm
	s.unwritten(held)
	s.active()
	s.same(before)
}

// serverStartsOver kills the API server and starts it again; etcd stays.
func (s siege) serverStartsOver() {
	before, held := s.controllers(), s.audit.writes(faultsNamespace)
	s.kill("kube-apiserver", syscall.SIGKILL)
	s.Log("the API server is away")
	time.Sleep(10 * time.Second)
	s.start("kube-apiserver")
	s.burst("back", 50)()
	s.Log("it is back")
	s.served()
	s.unwritten(held)
	s.same(before)
}
