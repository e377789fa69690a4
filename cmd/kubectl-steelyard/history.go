package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/history"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/world/collect"
)

// remembered is what the command history answers.
type remembered struct {
	About   string   `json:"about"`   // the address, or the Service as namespace/name
	Changes []change `json:"changes"` // the oldest first
	Limits  []string `json:"limits"`  // how far back this is known, in words
}

// change is one change of who has an address.
type change struct {
	At      metav1.Time `json:"at"`
	Address string      `json:"address"`
	Change  string      `json:"change"`            // Granted, Released, or Owned: a node became its owner
	Service string      `json:"service,omitempty"` // as namespace/name; several that share it by commas
	Was     string      `json:"was,omitempty"`     // of a grant the Service that lost it last
	Node    string      `json:"node,omitempty"`    // that became the owner, or answered when it was released
	From    string      `json:"from,omitempty"`    // the owner before
	Pool    string      `json:"pool,omitempty"`
	Reason  string      `json:"reason,omitempty"`
	Source  string      `json:"source"` // pool, claim or event
}

func remembers(t *tool) *cobra.Command {
	var since time.Duration
	c := t.command(&cobra.Command{
		Use:   "history ADDRESS|[NAMESPACE/]SERVICE",
		Short: "Tell which Services had an address, and which nodes answered for it",
		Long: `Tell which Services had an address, and which nodes answered for it, by time; or
which addresses a Service had, also one that is deleted.

It reads what IPAddressPools and L2Claims remember (status.history and
status.formerOwners) and the events that are still there. The last lines say how
far back that is known: the logs of controller and speakers, where they are
stored, have every change (message "address changed").`,
		Example: `  kubectl steelyard history 192.0.2.100
  kubectl steelyard history shop/web --since 24h -o json`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: t.names(corev1Kind("Service"), ""),
	}, func(ctx context.Context, args []string) (answer, error) {
		if since < 0 {
			return nil, fmt.Errorf("--since %s: it is a length of time, such as 24h", since)
		}
		return t.history(ctx, args[0], since)
	})
	c.Flags().DurationVar(&since, "since", 0, "only changes of the last, such as 24h (default: all that are known)")
	return c
}

// history tells of what a user names: an address, NAME, svc/NAME or NAMESPACE/NAME.
func (t *tool) history(ctx context.Context, text string, since time.Duration) (answer, error) {
	c, err := t.connect()
	if err != nil {
		return nil, err
	}
	all, unread, err := collect.History(ctx, c)
	if err != nil {
		return nil, err
	}
	out := remembered{About: text, Changes: []change{}}
	addr, notAnAddress := netip.ParseAddr(text)
	if notAnAddress != nil {
		key, err := t.serviceNamed(text)
		if err != nil {
			return nil, err
		}
		out.About = key.String()
	} else {
		out.About = addr.String()
	}
	begin := t.now().Add(-since)
	for _, e := range all.Entries() {
		if (e.Address == out.About || e.Concerns(out.About)) && (since == 0 || !e.At.Before(begin)) {
			out.Changes = append(out.Changes, change{metav1.NewTime(e.At.UTC()), e.Address, e.Change, e.Service, e.Was, e.Node, e.From, e.Pool, e.Reason, string(e.Source)})
		}
	}
	out.Limits = limitsOf(all, addr, out.Changes)
	if unread != "" {
		out.Limits = append(out.Limits, unread)
	}
	return out, nil
}

// limitsOf says how far back is known what changes tell: of an address, or, if that is the zero Addr, of a Service.
func limitsOf(all history.Evidence, a netip.Addr, changes []change) (out []string) {
	holds := ""
	if config := intent.Parse(intent.Objects{Pools: all.Pools}); a.IsValid() {
		holds = config.PoolOf(a)
	}
	for i := range all.Pools {
		pool := &all.Pools[i]
		if pool.Name != holds && !slices.ContainsFunc(changes, func(c change) bool { return c.Pool == pool.Name }) {
			continue
		}
		if begin := history.Begins(pool, a.String()); !begin.IsZero() {
			out = append(out, fmt.Sprintf("IPAddressPool %q keeps its last %d changes, %d of one address: none from before %s", pool.Name, v1beta1.MaxHistory, v1beta1.MaxHistoryOfAddress, begin.UTC().Format(time.RFC3339)))
		} else {
			out = append(out, fmt.Sprintf("IPAddressPool %q remembers each change since it was made, or since Steelyard remembers them", pool.Name))
		}
	}
	if a.IsValid() {
		out = append(out, ownersKnown(all, a))
	}
	return append(out, `events are kept for an hour, unless the cluster says otherwise; nothing older is kept: the logs of controller and speakers have it (message "`+history.Message+`")`)
}

// ownersKnown says how far back is known which node answered for a.
func ownersKnown(all history.Evidence, a netip.Addr) string {
	for i := range all.Claims {
		c := &all.Claims[i]
		if string(c.Spec.Address) != a.String() {
			continue
		}
		if former := c.Status.FormerOwners; len(former) == v1beta1.MaxFormerOwners {
			oldest := former[len(former)-1]
			begin := oldest.Until.Time
			if oldest.Since != nil {
				begin = oldest.Since.Time
			}
			return fmt.Sprintf("L2Claim %q keeps its last %d former owners: none from before %s", c.Name, v1beta1.MaxFormerOwners, begin.UTC().Format(time.RFC3339))
		}
		return fmt.Sprintf("L2Claim %q remembers each owner since %s", c.Name, c.CreationTimestamp.UTC().Format(time.RFC3339))
	}
	return "no L2Claim has the address: of who answered for it only events are known, and who did when a Service lost it"
}

func (remembered) kind() string { return "History" }

func (remembered) clean() bool { return true }

func (r remembered) draw(p *printer) {
	if len(r.Changes) == 0 {
		p.line(plainf("nothing is known of %s", r.About))
	} else {
		rows := [][]cell{header("TIME", "ADDRESS", "CHANGE", "SERVICE", "WAS", "NODE", "FROM", "REASON", "SOURCE")}
		for _, c := range r.Changes {
			rows = append(rows, []cell{plain(c.At.UTC().Format(time.RFC3339)), plain(c.Address), plain(c.Change), plain(c.Service), plain(c.Was), plain(c.Node), plain(c.From), plain(c.Reason), dimmed(c.Source)})
		}
		p.table("", withoutEmpty(rows)...)
	}
	p.heading("How far back")
	for _, l := range r.Limits {
		p.line(plain("  "), dimmed(l))
	}
}
