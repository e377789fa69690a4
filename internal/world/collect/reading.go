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
	"github.com/steelyard-lb/steelyard/internal/version"
)

// Read reads one list. Its errors tell the user what to do.
func Read(ctx context.Context, r client.Reader, list client.ObjectList, opts ...client.ListOption) error {
	x := reading{reader: r}
	x.list(ctx, list, "", opts...)
	return x.wait()
}

// reading reads several lists concurrently. It reads all of them even if one fails,
// so that one error names all that is missing.
type reading struct {
	reader client.Reader
	group  sync.WaitGroup

	mu        sync.Mutex        // guards the fields below
	unread    map[string]string // what may not be read, and what is guessed instead, by kind
	forbidden []string          // resources that may not be read
	missing   []string          // our kinds that the cluster does not have
	known     int               // how many of our kinds the cluster has
	errs      []error
}

// list starts to read a list. With an empty guess, a list that may not be read is an
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

// wait returns when all lists are read.
func (x *reading) wait() error {
	x.group.Wait()
	slices.Sort(x.missing)
	slices.Sort(x.forbidden)
	group := v1beta1.GroupVersion().String()
	switch {
	case len(x.errs) > 0:
		return x.errs[0] // the others most likely fail for the same reason
	case len(x.missing) > 0 && x.known == 0:
		return fmt.Errorf("there is no Steelyard in this cluster: it has none of its kinds (%s); is it the right cluster (--context)?", group)
	case len(x.missing) > 0:
		return fmt.Errorf("this cluster does not have the kinds %s of %s: those of Steelyard are older than this plugin", strings.Join(x.missing, ", "), group)
	case len(x.forbidden) > 0:
		return fmt.Errorf("you may not list %s: ask for the right to (%s has a ClusterRole for those who look)", strings.Join(x.forbidden, ", "), version.Page("docs/concepts/security.md"))
	}
	return nil
}

// kindOf returns the kind of a list's objects.
func kindOf(list client.ObjectList) string {
	return strings.TrimSuffix(reflect.TypeOf(list).Elem().Name(), "List")
}

// resourceOf returns the resource that may not be read as a role names it, with its
// group.
func resourceOf(err error) string {
	var status *apierrors.StatusError
	if !errors.As(err, &status) || status.ErrStatus.Details == nil {
		return err.Error()
	}
	d := status.ErrStatus.Details
	return strings.TrimSuffix(d.Kind+"."+d.Group, ".")
}
