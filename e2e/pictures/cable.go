package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	dialEvery = 10 * time.Millisecond
	dialFor   = 6 * time.Second
	cutAfter  = 2 * time.Second
	gaveUp    = 400 * time.Millisecond // what an attempt waits
)

// attempt is one connection that was tried.
type attempt struct {
	At    float64 // seconds since the first
	Took  float64 // milliseconds
	Error string
}

// dial opens connections to an address at a steady pace, and prints what came of each.
func dial(ctx context.Context, address string) {
	ctx, cancel := context.WithTimeout(ctx, dialFor)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	start, encoder := time.Now(), json.NewEncoder(os.Stdout)
	for next := time.NewTicker(dialEvery); ctx.Err() == nil; <-next.C {
		wg.Go(func() {
			began := time.Now()
			conn, err := (&net.Dialer{Timeout: gaveUp}).Dial("tcp", address)
			a := attempt{At: began.Sub(start).Seconds(), Took: float64(time.Since(began).Microseconds()) / 1000}
			if err != nil {
				a.Error = err.Error()
			} else {
				conn.Close()
			}
			mu.Lock()
			defer mu.Unlock()
			if err := encoder.Encode(a); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		})
	}
	wg.Wait()
}

// cut pulls the cable of the node that answers for the Service's address, while a client
// opens 100 connections a second. The node has none of the Service's Pods, so that what
// fails is Steelyard's.
func (s *studio) cut(ctx context.Context) error {
	const address = "192.0.2.100"
	owner, err := s.emptyNode(ctx)
	if err != nil {
		return err
	}
	if _, err := s.on(ctx, "control", "", s.plugin(), "move", address, owner); err != nil && !strings.Contains(err.Error(), "already") {
		return err
	}
	time.Sleep(3 * time.Second)
	self, err := os.Executable()
	if err != nil {
		return err
	}
	done := time.AfterFunc(cutAfter, func() {
		if err := s.rack.Cut(owner); err != nil {
			fmt.Fprintln(os.Stderr, "pictures:", err)
		}
	})
	defer done.Stop()
	out, err := s.on(ctx, "client", "", self, "dial", address+":80")
	if err != nil {
		return err
	}
	time.Sleep(5 * time.Second) // the dashboard shows it as well
	if err := s.rack.Join(owner); err != nil {
		return err
	}
	var all []attempt
	for lines := bufio.NewScanner(strings.NewReader(out)); lines.Scan(); {
		var a attempt
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			return err
		}
		all = append(all, a)
	}
	return s.save("cut.svg", plotCut(all))
}

// emptyNode returns a node with no Pod of the Service's.
func (s *studio) emptyNode(ctx context.Context) (string, error) {
	used, err := s.on(ctx, "control", "", "kubectl", "get", "pods", "--selector=app=web", "--output=jsonpath={.items[*].spec.nodeName}")
	if err != nil {
		return "", err
	}
	for _, n := range s.nodes() {
		if !strings.Contains(used, n) {
			return n, nil
		}
	}
	return "", fmt.Errorf("each node has a Pod: %s", used)
}

// plotCut draws each attempt: when it began and how long it took.
func plotCut(all []attempt) string {
	const left, top, width, height = 64.0, 56.0, 640.0, 168.0
	c := &canvas{width: left + width + 24, height: top + height + 52}
	x := func(seconds float64) float64 { return left + seconds*width/dialFor.Seconds() }
	y := func(ms float64) float64 { return top + height - min(ms, 400)*height/400 }
	good, failed, gap, last := 0, 0, 0.0, 0.0
	for _, a := range all {
		if a.Error != "" {
			failed++
			continue
		}
		good++
		gap = max(gap, a.At+a.Took/1000-last)
		last = max(last, a.At+a.Took/1000)
	}
	c.text(16, 26, "strong", "100 new connections a second, while the cable of the node that answers is cut")
	c.text(16, 43, "faint small", fmt.Sprintf("%d answered, %d not; the longest time without an answer is %.2f s", good, failed, gap))
	for ms := 0.0; ms <= 400; ms += 100 {
		c.put(`<path class="rule" d="M%g %gh%g"/>`, left, y(ms), width)
		c.text(left-8, y(ms)+4, "small faint end", fmt.Sprintf("%g ms", ms))
	}
	for sec := 0.0; sec <= dialFor.Seconds(); sec++ {
		c.text(x(sec), top+height+18, "small faint middle", fmt.Sprintf("%g s", sec))
	}
	c.text(left+width/2, top+height+38, "small faint middle", "when the connection was begun; upwards: how long it took to open")
	cut := x(cutAfter.Seconds())
	c.put(`<path d="M%.1f %gv%g" stroke="var(--bad)" stroke-width="1.5" stroke-dasharray="4 3"/>`, cut, top, height)
	c.text(cut-6, top+14, "small end", "the cable is cut")
	for _, a := range all {
		if a.Error == "" {
			c.put(`<circle cx="%.1f" cy="%.1f" r="2" fill="var(--good)"/>`, x(a.At), y(a.Took))
			continue
		}
		c.put(`<path d="M%.1f %.1fl5 5m0 -5l-5 5" stroke="var(--bad)" stroke-width="1.2"/>`, x(a.At)-2.5, y(gaveUp.Seconds()*1000)-2.5)
	}
	c.put(`<circle cx="%g" cy="40" r="3" fill="var(--good)"/>`, left+width-180)
	c.text(left+width-172, 44, "small faint", "answered")
	c.put(`<path d="M%g 37l6 6m0 -6l-6 6" stroke="var(--bad)" stroke-width="1.2"/>`, left+width-110)
	c.text(left+width-98, 44, "small faint", "given up after 0.4 s")
	return c.svg(fmt.Sprintf("A cut cable: %d connections answered, %d not, %.2f s without an answer", good, failed, gap))
}

// root is where the repository is.
func (s *studio) monitoring(file string) string {
	return filepath.Join(s.rack.Root, "config", "monitoring", file)
}
