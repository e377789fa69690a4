package migrate

import (
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/steelyard-lb/steelyard/internal/printable"
)

// scope leaves out the objects of other namespaces than the peer's own. The peer
// does not read them, and who wrote them need not be an administrator: what is
// made of them would be applied by one.
func (d *draft) scope() error {
	in := map[string]bool{}
	for i := range d.source.Objects {
		if o := &d.source.Objects[i]; o.GetNamespace() != "" && d.concerns(o) {
			in[o.GetNamespace()] = true
		}
	}
	own, err := d.ownNamespace(in)
	if err != nil {
		return err
	}
	d.source.Objects = slices.DeleteFunc(d.source.Objects, func(o unstructured.Unstructured) bool {
		if o.GetNamespace() == "" || o.GetNamespace() == own {
			return false // files need not say the namespace
		}
		if d.concerns(&o) {
			why := fmt.Sprintf("it is not in %s, %s's own namespace: anybody may have written it; it is left out", own, d.peer)
			if own == "" {
				why = fmt.Sprintf("it is in none of %s's usual namespaces: anybody may have written it; it is left out, unless --their-namespace names its namespace", d.peer)
			}
			d.note(Note{Gravity: NoEqual, Object: nameOf(&o), Why: why})
		}
		return true
	})
	return nil
}

// concerns reports whether an object is of a kind that is carried over.
func (d *draft) concerns(o *unstructured.Unstructured) bool {
	return d.trade.concerns == nil || d.trade.concerns(o)
}

// ownNamespace returns the namespace of the peer's that is meant: what was said,
// or a usual one that holds objects, or the only one that does.
func (d *draft) ownNamespace(in map[string]bool) (string, error) {
	if d.source.Theirs != "" {
		return d.source.Theirs, nil
	}
	for _, n := range d.trade.homes {
		if in[n] {
			return n, nil
		}
	}
	all := slices.Sorted(maps.Keys(in))
	switch {
	case d.trade.anybody || len(all) == 0:
		return "", nil
	case len(all) > 1:
		return "", fmt.Errorf("there are objects of %s in the namespaces %s: say with --their-namespace which is its own", d.peer, printable.List(all))
	}
	return all[0], nil
}
