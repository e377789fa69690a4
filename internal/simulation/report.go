package simulation

import (
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// reporter writes what a speaker does, after it does it.
type reporter struct {
	*speaker
	busy  int // writes under way, and 1 for the report itself
	again bool
}

// wake has a report come.
func (r *reporter) wake() {
	if r.busy > 0 {
		r.again = true
		return
	}
	r.busy++
	r.in(r.within(100*time.Microsecond, time.Millisecond), r.write)
}

// write brings the Speaker object and the L2Claims up to date.
func (r *reporter) write() {
	failed := false
	done := func(err error) {
		failed = failed || err != nil
		if r.busy--; r.busy > 0 {
			return
		}
		switch {
		case failed:
			r.in(2*time.Second, r.wake)
		case r.again:
			r.again = false
			r.wake()
		}
	}
	if r.plan == nil || r.stopping || r.cache.get(nodes, r.node.name) == nil {
		done(nil)
		return
	}
	r.reportSpeaker(func(err error) {
		for _, c := range r.plan.Plan.Claims {
			if e := r.entries[c.Addr]; e != nil && e.free && !r.plan.Unconfirmed[c.Addr] {
				r.busy++
				r.reportClaim(c, done)
			}
		}
		done(err)
	})
}

func (r *reporter) reportSpeaker(then func(error)) {
	link := r.link()
	link.Up = link.Up && !r.second.view().Isolated
	want := speakerValue{links: []announce.Link{link}, isolated: r.first.view().Isolated}
	have := r.cache.get(speakers, r.node.name)
	if have != nil && sameSpeaker(have.value.(speakerValue), want) {
		then(nil)
		return
	}
	r.ask(func() (any, error) {
		if r.api.get(nodes, r.node.name) == nil {
			return nil, errNotFound
		}
		if have == nil {
			return r.create(speakers, r.node.name, want)
		}
		return r.update(speakers, r.node.name, 0, want)
	}, func(_ any, err error) { then(err) })
}

func sameSpeaker(a, b speakerValue) bool {
	return a.isolated == b.isolated && a.stopped == b.stopped &&
		slices.EqualFunc(a.links, b.links, sameLink)
}

func sameLink(a, b announce.Link) bool { return a.Name == b.Name && a.Up == b.Up && a.MAC == b.MAC }

// reportClaim enters this node in the L2Claim of an address.
func (r *reporter) reportClaim(c announce.Claim, done func(error)) {
	name := intent.ClaimName(c.Addr)
	var have *object
	all := table{claims: r.claims()}
	want := claimValue{addr: c.Addr, owner: r.node.name}
	if have = all.get(claims, name); have != nil {
		v := have.value.(claimValue)
		if v.owner != r.node.name && v.owner != r.plan.Owners[c.Addr] || v.owner == r.node.name && v.answering == r.node.name {
			done(nil)
			return
		}
		want.answering = v.answering
	}
	status := func(o *object) {
		r.saw(o, false)
		want.answering = r.node.name
		r.ask(func() (any, error) { return r.update(claims, name, o.version, want) }, func(v any, err error) {
			if err == nil {
				r.saw(v.(*object), true)
			}
			done(err)
		})
	}
	if have != nil && want.owner == have.value.(claimValue).owner {
		status(have)
		return
	}
	r.ask(func() (any, error) {
		if have == nil {
			return r.create(claims, name, want)
		}
		return r.update(claims, name, have.version, want)
	}, func(v any, err error) {
		if err != nil {
			done(err)
			return
		}
		status(v.(*object))
	})
}

// reportStop reports that this speaker was stopped.
func (r *reporter) reportStop() {
	if r.cache == nil {
		return
	}
	have := r.cache.get(speakers, r.node.name)
	if have == nil {
		return
	}
	v := have.value.(speakerValue)
	v.stopped = true
	r.askWithin(time.Second, func() (any, error) { return r.update(speakers, r.node.name, 0, v) }, func(any, error) {})
}
