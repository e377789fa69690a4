package collect

import (
	"cmp"
	"context"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/history"
)

// History reads who had which address: the statuses of pools and L2Claims, and the events of the
// programs. Where the user may not read events, unread says so.
func History(ctx context.Context, r client.Reader) (out history.Evidence, unread string, _ error) {
	var pools v1beta1.IPAddressPoolList
	var claims v1beta1.L2ClaimList
	programs := []string{cluster.ManagerController, cluster.ManagerSpeaker}
	events := make([]corev1.EventList, len(programs))
	x := reading{reader: r}
	x.list(ctx, &pools, "")
	x.list(ctx, &claims, "")
	for i, name := range programs {
		x.list(ctx, &events[i], "the answer has what statuses remember", client.MatchingFields{"reportingComponent": name})
	}
	if err := x.wait(); err != nil {
		return out, "", err
	}
	out.Pools, out.Claims = pools.Items, claims.Items
	for _, list := range events {
		for i := range list.Items {
			e := &list.Items[i]
			about := e.InvolvedObject.Name
			if e.InvolvedObject.Kind == "Service" {
				about = e.InvolvedObject.Namespace + "/" + about
			}
			at := cmp.Or(e.EventTime.Time, e.LastTimestamp.Time)
			out.Events = append(out.Events, history.Event{At: at, About: about, Reason: e.Reason, Message: e.Message})
		}
	}
	return out, x.unread["Event"], nil
}
