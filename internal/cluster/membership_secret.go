package cluster

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/internal/wait"
)

// keyLength is the length of a new key, in octets.
const keyLength = 32

// MembershipSecret makes the key by which the speakers sign their messages to one another,
// if there is none. It never changes one: who rotates keys, does.
type MembershipSecret struct {
	Client    client.Client
	Direct    client.Reader // past the cache
	Log       *slog.Logger
	Namespace string
}

// Run looks now and again whether the Secret is there. Any replica may: the first that creates
// it has made the key.
func (k MembershipSecret) Run(ctx context.Context) error {
	for pause := keyRetry; ; pause = min(2*pause, time.Minute) {
		err := k.ensure(ctx)
		if err == nil {
			pause = keyEvery // a user may delete it
		} else if ctx.Err() == nil {
			k.Log.Warn("can't make the speakers' key; trying again", "err", err, "after", pause)
		}
		if !wait.Sleep(ctx, pause) {
			return nil
		}
	}
}

// keyRetry is the pause after the first failure.
const keyRetry = time.Second

// keyEvery is the pause while the Secret is there.
const keyEvery = time.Minute

func (k MembershipSecret) ensure(ctx context.Context) error {
	secret := &corev1.Secret{}
	secret.Namespace, secret.Name = k.Namespace, SecretMembership
	err := k.Direct.Get(ctx, client.ObjectKeyFromObject(secret), secret)
	if !apierrors.IsNotFound(err) {
		return err
	}
	key := make([]byte, keyLength)
	_, _ = rand.Read(key) // never fails
	secret.Data = map[string][]byte{MembershipKey: key}
	if err := k.Client.Create(ctx, secret); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create Secret %s/%s: %w", secret.Namespace, secret.Name, err)
	}
	return nil
}

// MembershipKeys returns the keys of the speakers' messages that the Secret in a namespace has; none if
// the controller has not created it yet. The one named "key" comes first: it signs. The others
// are also accepted, so that keys can be rotated in two steps.
func MembershipKeys(ctx context.Context, c client.Reader, namespace string) ([][]byte, error) {
	var secret corev1.Secret
	if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: SecretMembership}, &secret); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return nil, nil
		}
		return nil, fmt.Errorf("read the speakers' key: %w", err)
	}
	var out [][]byte
	if key := secret.Data[MembershipKey]; len(key) > 0 {
		out = append(out, key)
	}
	for _, name := range slices.Sorted(maps.Keys(secret.Data)) {
		if name != MembershipKey && len(secret.Data[name]) > 0 {
			out = append(out, secret.Data[name])
		}
	}
	return out, nil
}
