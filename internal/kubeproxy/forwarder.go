package kubeproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
)

// awayFor is how long a program must have been away before another one counts as what
// forwards: kube-proxy is restarted, and ends before the speaker when a node shuts down.
const awayFor = time.Minute

// known are the programs that forward in place of kube-proxy, and where on the node they say
// by default whether they are well. They run beside kube-proxy as well:
// that one of them answers tells nothing where kube-proxy does.
func known() []program {
	return []program{
		{v1beta1.ForwarderCilium, 9879, "/healthz"},
		{v1beta1.ForwarderCalico, 9099, "/readiness"},
		{v1beta1.ForwarderKubeRouter, 20244, "/healthz"},
	}
}

// program is a program that may forward.
type program struct {
	name string
	port uint16
	path string
}

// ask returns nil if the program says that it is well. Some listen for one family only.
func (p program) ask(ctx context.Context) error {
	_, err := get(ctx, fmt.Sprintf("http://127.0.0.1:%d%s", p.port, p.path), time.Second)
	if absent(err) {
		if _, six := get(ctx, fmt.Sprintf("http://[::1]:%d%s", p.port, p.path), time.Second); !absent(six) {
			return six
		}
	}
	return err
}

// absent reports whether err means that no program listens there.
func absent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// Former returns which program forwarded on a node by what Speakers have reported, by node:
// its own report or, of a node without one, that of all others if they agree; "": unknown.
func Former(node string, reported map[string]string) string {
	if own := reported[node]; own != "" {
		return own
	}
	all := ""
	for _, name := range reported {
		if all == "" {
			all = name
		}
		if name != "" && name != all {
			return ""
		}
	}
	return all
}

// forwarder decides which program forwards on this node. What answers at the URL of Readiness
// does. Where nothing listens there, one that answers at its own port does; but while the node
// boots, or kube-proxy is restarted, it only did before.
type forwarder struct {
	known []program
	name  string    // v1beta1.Forwarder…; "": not known yet
	away  time.Time // since when it does not answer at all; zero: it does
}

// answered records that something answers at the URL.
func (w *forwarder) answered() { w.name, w.away = v1beta1.ForwarderReadyCheck, time.Time{} }

// instead finds out what forwards although nothing listens at the URL. err is why it does not
// say so, which for none is refused.
func (w *forwarder) instead(ctx context.Context, refused error, now time.Time, booted bool) (err error) {
	for _, p := range w.known {
		if p.name == w.name {
			if err := p.ask(ctx); !absent(err) {
				w.away = time.Time{}
				return err
			}
		}
	}
	if w.away.IsZero() {
		w.away = now
	}
	if w.name == "" && !booted || w.name != "" && w.name != v1beta1.ForwarderNone && now.Sub(w.away) < awayFor {
		return refused
	}
	w.name = v1beta1.ForwarderNone
	for _, p := range w.known {
		if err := p.ask(ctx); !absent(err) {
			w.name, w.away = p.name, time.Time{}
			return err
		}
	}
	return refused
}
