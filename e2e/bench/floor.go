package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
)

// floorClass is the loadBalancerClass of the Services that the bare client
// serves, and Steelyard does not.
const floorClass = "bench.steelyard.dev/floor"

// Services of these classes the bare client serves with as many writes as Steelyard announces
// with: what is left between the two is what deciding costs, and what these writes have beside
// those to objects of the core.
const (
	likeLayer2Class = "bench.steelyard.dev/like-layer2"
	likeBGPClass    = "bench.steelyard.dev/like-bgp"
)

// besideFloor runs do while a bare client serves the Services of floorClass:
// the least that any controller must do, a watch and one status patch for each.
//
// Is it fair? The API server, the speaker, kube-proxy and the makers of
// EndpointSlices work for either's Services alike, the load is created alike, and
// one and the same watch takes the times of both. What remains:
//   - In the floor's favor, on purpose: it decides nothing, sends a smaller
//     patch without condition or annotation, checks no version, writes no event,
//     keeps no cache, and is root to the API server, which then has no RBAC to look
//     up. It waits for nothing: as many patches as come are under way at once.
//   - Against it: Steelyard's controller sees the floor's Services too, and uses
//     processor time to find that they are none of its own. The tables of bursts
//     tell how much. The bare client never does anything in Steelyard's turns.
//   - Against it: it runs in this process, beside the creations and the watch
//     that takes the times. It has a connection of its own, as Steelyard has.
func (b *bench) besideFloor(ctx context.Context, do func(context.Context) error) error {
	client, err := kubernetes.NewForConfig(b.config) // a client has a connection of its own
	if err != nil {
		return fmt.Errorf("make the bare client: %w", err)
	}
	services := client.CoreV1().Services(namespace)
	now, err := services.List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return fmt.Errorf("list Services: %w", err)
	}
	// Steelyard watches with this selector too.
	w, err := services.Watch(ctx, metav1.ListOptions{ResourceVersion: now.ResourceVersion, FieldSelector: "spec.type=LoadBalancer"})
	if err != nil {
		return fmt.Errorf("watch Services: %w", err)
	}
	answered := make(chan error, 1)
	go func() { answered <- b.answer(ctx, client, w) }()
	err = do(ctx)
	w.Stop()
	return errors.Join(err, <-answered)
}

// answer gives an address to each new Service of floorClass until the watch ends.
func (b *bench) answer(ctx context.Context, client *kubernetes.Clientset, w watch.Interface) error {
	var patches errgroup.Group
	for e := range w.ResultChan() {
		svc, ok := e.Object.(*corev1.Service)
		if !ok || e.Type != watch.Added || svc.Spec.LoadBalancerClass == nil {
			continue
		}
		switch class := *svc.Spec.LoadBalancerClass; class {
		case floorClass:
			patches.Go(func() error { return b.patchFloor(ctx, client, svc.Name) })
		case likeLayer2Class, likeBGPClass:
			patches.Go(func() error {
				return errors.Join(b.patchFloor(ctx, client, svc.Name), writeAsMuch(ctx, client, svc, class))
			})
		}
	}
	if err := patches.Wait(); err != nil {
		return fmt.Errorf("the bare client: %w", err)
	}
	return nil
}

// patchFloor gives a Service the next address.
func (b *bench) patchFloor(ctx context.Context, client *kubernetes.Clientset, name string) error {
	n := int(b.floorGiven.Add(1))
	patch := fmt.Sprintf(`{"status":{"loadBalancer":{"ingress":[{"ip":"%s","ipMode":"VIP"}]}}}`, plus(netip.MustParseAddr("172.28.0.0"), n))
	_, err := client.CoreV1().Services(namespace).Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "status")
	return err
}

// writeAsMuch writes what else Steelyard does for an address: an Event, with layer 2 an object
// and its status, for which a ConfigMap stands, and a condition.
func writeAsMuch(ctx context.Context, client *kubernetes.Clientset, svc *corev1.Service, class string) error {
	now := metav1.Now()
	event := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{GenerateName: svc.Name + ".", Namespace: namespace}, Type: corev1.EventTypeNormal, Reason: "Served", Count: 1,
		Message:        "This Service has an address of the bare client.",
		InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: namespace, Name: svc.Name, UID: svc.UID},
		FirstTimestamp: now, LastTimestamp: now,
	}
	if _, err := client.CoreV1().Events(namespace).Create(ctx, event, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("write an Event: %w", err)
	}
	if class == likeLayer2Class {
		maps, owner := client.CoreV1().ConfigMaps(namespace), metav1.OwnerReference{APIVersion: "v1", Kind: "Service", Name: svc.Name, UID: svc.UID}
		claim := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: svc.Name, OwnerReferences: []metav1.OwnerReference{owner}}, Data: map[string]string{"node": "node1"}}
		if _, err := maps.Create(ctx, claim, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("write a ConfigMap: %w", err)
		}
		if _, err := maps.Patch(ctx, svc.Name, types.MergePatchType, []byte(`{"data":{"announced":"True"}}`), metav1.PatchOptions{}); err != nil {
			return fmt.Errorf("write its status: %w", err)
		}
	}
	condition := fmt.Sprintf(`{"status":{"conditions":[{"type":"Served","status":"True","reason":"Served","message":"","lastTransitionTime":%q}]}}`, now.UTC().Format(time.RFC3339))
	if _, err := client.CoreV1().Services(namespace).Patch(ctx, svc.Name, types.MergePatchType, []byte(condition), metav1.PatchOptions{}, "status"); err != nil {
		return fmt.Errorf("write a condition: %w", err)
	}
	return nil
}
