package collect

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/cluster"
)

// Read reads one list, and says in words what is wrong if that can't be done.
func Read(ctx context.Context, r client.Reader, list client.ObjectList, opts ...client.ListOption) error {
	x := reading{reader: r}
	x.list(ctx, list, "", opts...)
	return x.wait()
}

// reading reads lists side by side, all of them, whatever becomes of one: so what
// is wrong can be told at once.
type reading struct {
	reader client.Reader
	group  sync.WaitGroup

	mu        sync.Mutex        // of what follows
	unread    map[string]string // by kind: that it may not be read, and what is guessed for it
	forbidden []string          // resources
	missing   []string          // kinds of ours
	known     int               // how many kinds of ours are there
	errs      []error
}

// list begins to read a list. If guess is empty, that it may not be read is an
// error.
func (x *reading) list(ctx context.Context, list client.ObjectList, guess string, opts ...client.ListOption) {
	x.group.Go(func() {
		err := cluster.List(ctx, x.reader, list, opts...)
		x.mu.Lock()
		defer x.mu.Unlock()
		ours := reflect.TypeOf(list).Elem().PkgPath() == reflect.TypeFor[v1beta1.Speaker]().PkgPath()
		switch {
		case err == nil:
			if ours {
				x.known++
			}
		case ours && meta.IsNoMatchError(err):
			x.missing = append(x.missing, kindOf(list))
		case apierrors.IsForbidden(err) && guess != "":
			if x.unread == nil {
				x.unread = map[string]string{}
			}
			x.unread[kindOf(list)] = fmt.Sprintf("you may not list %ss; %s", kindOf(list), guess)
		case apierrors.IsForbidden(err):
			x.forbidden = append(x.forbidden, resourceOf(err))
		default:
			x.errs = append(x.errs, err)
		}
	})
}

// wait waits until all is read.
func (x *reading) wait() error {
	x.group.Wait()
	slices.Sort(x.missing)
	slices.Sort(x.forbidden)
	version := v1beta1.GroupVersion().String()
	switch {
	case len(x.errs) > 0:
		return x.errs[0] // the others are most likely the same
	case len(x.missing) > 0 && x.known == 0:
		return fmt.Errorf("there is no Steelyard in this cluster: it has none of its kinds (%s); is it the right cluster (--context)?", version)
	case len(x.missing) > 0:
		return fmt.Errorf("this cluster does not have the kinds %s of %s: those of Steelyard are older than this plugin", strings.Join(x.missing, ", "), version)
	case len(x.forbidden) > 0:
		return fmt.Errorf("you may not list %s: ask for the right to (docs/explanation/security.md has a ClusterRole for those who look)", strings.Join(x.forbidden, ", "))
	}
	return nil
}

// kindOf names the kind of a list's objects.
func kindOf(list client.ObjectList) string {
	return strings.TrimSuffix(reflect.TypeOf(list).Elem().Name(), "List")
}

// resourceOf names what may not be read as roles do, with its group.
func resourceOf(err error) string {
	var status *apierrors.StatusError
	if !errors.As(err, &status) || status.ErrStatus.Details == nil {
		return err.Error()
	}
	d := status.ErrStatus.Details
	return strings.TrimSuffix(d.Kind+"."+d.Group, ".")
}
