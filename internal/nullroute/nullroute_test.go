package nullroute

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

const table = DefaultTable

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range texts {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// memory is a kernel in memory.
type memory struct {
	mu      sync.Mutex
	held    kernelState
	writes  int
	reads   int // of one table
	failing error
}

func (m *memory) ours() (kernelState, error) { return m.look(func(int) bool { return true }) }

func (m *memory) in(table int) (kernelState, error) {
	m.reads++
	return m.look(func(of int) bool { return of == table })
}

func (m *memory) look(in func(int) bool) (kernelState, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := kernelState{rules: slices.Clone(m.held.rules), taken: m.held.taken}
	for _, r := range m.held.routes {
		if in(r.table) {
			out.routes = append(out.routes, r)
		}
	}
	return out, m.failing
}

func (m *memory) do(c change) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.writes++; m.failing != nil {
		return m.failing
	}
	if c.rule != nil {
		m.held.rules = toggled(m.held.rules, *c.rule, c.remove)
	} else {
		m.held.routes = toggled(m.held.routes, *c.route, c.remove)
	}
	return nil
}

func toggled[T comparable](in []T, x T, remove bool) []T {
	in = slices.DeleteFunc(in, func(y T) bool { return x == y })
	if !remove {
		in = append(in, x)
	}
	return in
}

// shows returns the kernel's rules and routes of ours, as text.
func shows(t *testing.T, k kernel) []string {
	t.Helper()
	have, err := k.ours()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range have.rules {
		family := "4"
		if r.six {
			family = "6"
		}
		switch {
		case r.priority == askMain && r.table == mainTable && r.suppress == widest:
			out = append(out, "rule main "+family)
		case r.priority == askOurs && r.table == table && r.suppress == suppressed:
			out = append(out, "rule ours "+family)
		default:
			out = append(out, "rule other "+family)
		}
	}
	for _, r := range have.routes {
		if r.table == table {
			out = append(out, r.prefix.String())
		} else {
			out = append(out, "other "+r.prefix.String())
		}
	}
	slices.Sort(out)
	return out
}

// kernels runs a test on both kinds of kernel.
func kernels(t *testing.T, test func(t *testing.T, k kernel)) {
	t.Run("in memory", func(t *testing.T) { test(t, new(memory)) })
	t.Run("in a network namespace", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Skip("needs root, for a network namespace")
		}
		test(t, namespace(t))
	})
}

// namespace returns the kernel of a new network namespace.
func namespace(t *testing.T) netlinks {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	there, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	if err := netns.Set(here); err != nil {
		t.Fatal(err)
	}
	handle, err := netlink.NewHandleAt(there)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { handle.Close(); there.Close(); here.Close() })
	return netlinks{handle}
}

// start runs Routes on a kernel until stop.
func start(t *testing.T, k kernel, table int) (_ *Routes, stop func()) {
	t.Helper()
	r := newRoutes(slog.New(slog.DiscardHandler), table, k)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return r, stop
}

// becomes waits until the kernel has these rules and routes of ours.
func becomes(t *testing.T, k kernel, want ...string) {
	t.Helper()
	slices.Sort(want)
	var diff string
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if diff = cmp.Diff(want, shows(t, k)); diff == "" {
			return
		}
	}
	t.Fatalf("want -, have +:\n%s", diff)
}

func TestTheKernelHasARouteForEachAnnouncedPrefix(t *testing.T) {
	kernels(t, func(t *testing.T, k kernel) {
		r, stop := start(t, k, table)
		r.Set(prefixes("192.0.2.7/32", "192.0.2.7/32", "198.51.100.0/24"))
		becomes(t, k, "rule main 4", "rule ours 4", "192.0.2.7/32", "198.51.100.0/24")
		r.Set(prefixes("198.51.100.0/24", "2001:db8::7/128", "2001:db8:1::/64"))
		becomes(t, k, "rule main 4", "rule ours 4", "198.51.100.0/24", "rule main 6", "rule ours 6", "2001:db8::7/128", "2001:db8:1::/64")
		r.Set(prefixes("2001:db8::7/128"))
		becomes(t, k, "rule main 6", "rule ours 6", "2001:db8::7/128")
		r.Set(nil)
		becomes(t, k)
		r.Set(prefixes("192.0.2.7/32", "2001:db8::7/128"))
		becomes(t, k, "rule main 4", "rule ours 4", "192.0.2.7/32", "rule main 6", "rule ours 6", "2001:db8::7/128")
		stop()
		becomes(t, k)
	})
}

// leave has a process end without removing its routes, as if killed.
func leave(t *testing.T, k kernel, table int, want []netip.Prefix) {
	t.Helper()
	have, err := k.ours()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range changes(have, want, table) {
		if err := k.do(c); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRoutesOfAFormerProcessAreAdopted(t *testing.T) {
	kernels(t, func(t *testing.T, k kernel) {
		leave(t, k, table, prefixes("192.0.2.7/32", "192.0.2.8/32", "2001:db8::7/128"))
		left := shows(t, k)
		r, _ := start(t, k, table)
		time.Sleep(50 * time.Millisecond)
		becomes(t, k, left...) // nothing is known yet
		r.Set(prefixes("192.0.2.8/32", "192.0.2.9/32"))
		becomes(t, k, "rule main 4", "rule ours 4", "192.0.2.8/32", "192.0.2.9/32")
	})
}

func TestRoutesOfAFormerProcessInAnotherTableAreRemoved(t *testing.T) {
	kernels(t, func(t *testing.T, k kernel) {
		leave(t, k, table+1, prefixes("192.0.2.7/32"))
		r, _ := start(t, k, table)
		r.Set(prefixes("192.0.2.8/32"))
		becomes(t, k, "rule main 4", "rule ours 4", "192.0.2.8/32")
	})
}

func TestTableZeroRemovesTheRoutesOfAFormerProcess(t *testing.T) {
	kernels(t, func(t *testing.T, k kernel) {
		leave(t, k, table, prefixes("192.0.2.7/32", "2001:db8::7/128"))
		r, _ := start(t, k, 0)
		r.Set(prefixes("192.0.2.8/32"))
		becomes(t, k)
		if r.Problem() != "" {
			t.Error(r.Problem())
		}
	})
}

func TestRoutesThatAnotherProgramFlushesAreAddedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(memory)
		r, _ := start(t, m, table)
		r.Set(prefixes("192.0.2.7/32"))
		synctest.Wait()
		m.mu.Lock()
		m.held = kernelState{}
		m.mu.Unlock()
		time.Sleep(resyncInterval)
		synctest.Wait()
		if diff := cmp.Diff([]string{"192.0.2.7/32", "rule main 4", "rule ours 4"}, shows(t, m)); diff != "" {
			t.Error(diff)
		}
		before := m.writes
		r.Set(prefixes("192.0.2.7/32"))
		time.Sleep(time.Hour)
		if m.writes != before {
			t.Error("it writes what is there")
		}
	})
}

// Addresses that come one after the other must not have all routes read each time. A program
// that flushes them meanwhile must be noticed all the same.
func TestABurstReadsTheKernelOnlyOncePerInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(memory)
		r, stop := start(t, m, table)
		var all []netip.Prefix
		come := func(n int) {
			for range n {
				all = append(all, netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, byte(len(all) >> 8), byte(len(all))}), 32))
				r.Set(all)
				time.Sleep(resyncInterval / 100)
			}
		}
		come(50)
		if len(shows(t, m)) != 2+50 || m.reads != 1 {
			t.Errorf("the kernel has %d things, after %d readings; want 52 after 1", len(shows(t, m)), m.reads)
		}
		m.mu.Lock()
		m.held = kernelState{}
		m.mu.Unlock()
		come(100)
		if len(shows(t, m)) != 2+150 || m.reads != 2 {
			t.Errorf("the kernel has %d things, after %d readings; want 152 after 2", len(shows(t, m)), m.reads)
		}
		stop()
	})
}

func TestAFailureIsReportedAndTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{failing: errors.New("operation not permitted")}
		r, stop := start(t, m, table)
		r.Set(prefixes("192.0.2.7/32"))
		time.Sleep(time.Minute)
		if r.Problem() != "operation not permitted" {
			t.Errorf("the problem is %q", r.Problem())
		}
		m.mu.Lock()
		m.failing = nil
		m.mu.Unlock()
		time.Sleep(retryAfter)
		synctest.Wait()
		if have := shows(t, m); len(have) != 3 || r.Problem() != "" {
			t.Errorf("the kernel has %v; the problem is %q", have, r.Problem())
		}
		stop()
	})
}

// Another program's routes in the table, or rules at our priorities, are reported and stay;
// ours are not added beside them.
func TestATableOfAnotherProgramIsLeftAlone(t *testing.T) {
	for _, c := range []struct{ name, has, problem string }{
		{"a route", "route add 203.0.113.0/24 dev lo table 7478", "another program has routes in table 7478"},
		{"an unreachable route without our mark", "-6 route add unreachable 2001:db8::/64 table 7478", "another program has routes in table 7478"},
		{"a rule that asks it", "rule add from 203.0.113.1 lookup 7478 priority 100", "another program's rule (ip rule, priority 100) uses table 7478"},
		{"a rule of our priority", "-6 rule add lookup 99 priority 32751", "another program has a rule of priority 32751"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if os.Geteuid() != 0 {
				t.Skip("needs root, for a network namespace")
			}
			ns := "nullroute-" + strings.ReplaceAll(strings.Fields(c.name)[1]+c.problem[len(c.problem)-3:], " ", "")
			ip := func(args ...string) string {
				t.Helper()
				out, err := exec.Command("ip", args...).CombinedOutput()
				if err != nil {
					t.Fatalf("ip %v: %v\n%s", args, err, out)
				}
				return string(out)
			}
			ip("netns", "add", ns)
			t.Cleanup(func() { ip("netns", "del", ns) })
			ip("-n", ns, "link", "set", "lo", "up")
			ip(append([]string{"-n", ns}, strings.Fields(c.has)...)...)
			there, err := netns.GetFromName(ns)
			if err != nil {
				t.Fatal(err)
			}
			defer there.Close()
			handle, err := netlink.NewHandleAt(there)
			if err != nil {
				t.Fatal(err)
			}
			defer handle.Close()
			k := netlinks{handle}
			all := func() string {
				out := ""
				for _, of := range []string{"rule", "-6 rule", "route show table all", "-6 route show table all"} {
					out += ip(append([]string{"-n", ns}, strings.Fields(of)...)...)
				}
				return out
			}
			before := all()
			r, stop := start(t, k, table)
			r.Set(prefixes("192.0.2.7/32", "2001:db8::7/128"))
			for end := time.Now().Add(5 * time.Second); r.Problem() == "" && time.Now().Before(end); {
				time.Sleep(5 * time.Millisecond)
			}
			if !strings.HasPrefix(r.Problem(), c.problem) {
				t.Errorf("the problem is %q, want %q", r.Problem(), c.problem)
			}
			stop()
			if diff := cmp.Diff(before, all()); diff != "" {
				t.Errorf("it was changed: %s", diff)
			}
		})
	}
}
