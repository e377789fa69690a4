package migrate

import (
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/steelyard-lb/steelyard/internal/printable"
)

// scope removes the objects outside of the product's own namespace. The product does
// not read them, and their author need not be an administrator, who would apply what
// is made of them.
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
			return false // files may omit the namespace
		}
		if d.concerns(&o) {
			reason := fmt.Sprintf("it is not in %s, %s's own namespace: any user may have written it; it is left out", own, d.product)
			if own == "" {
				reason = fmt.Sprintf("it is in none of %s's usual namespaces: any user may have written it; it is left out, unless --their-namespace names its namespace", d.product)
			}
			d.note(Note{Severity: NoEqual, Object: nameOf(&o), Reason: reason})
		}
		return true
	})
	return nil
}

// concerns reports whether an object is of a kind that is converted.
func (d *draft) concerns(o *unstructured.Unstructured) bool {
	return d.converter.concerns == nil || d.converter.concerns(o)
}

// ownNamespace returns the product's namespace: the one in the options, a usual one
// that has objects, or the only one that has.
func (d *draft) ownNamespace(in map[string]bool) (string, error) {
	if d.source.Theirs != "" {
		return d.source.Theirs, nil
	}
	for _, n := range d.converter.homes {
		if in[n] {
			return n, nil
		}
	}
	all := slices.Sorted(maps.Keys(in))
	switch {
	case d.converter.anyNamespace || len(all) == 0:
		return "", nil
	case len(all) > 1:
		return "", fmt.Errorf("there are objects of %s in the namespaces %s: say with --their-namespace which is its own", d.product, printable.List(all))
	}
	return all[0], nil
}
