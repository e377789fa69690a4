package status

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// reviewer is an API server that reviews tokens.
type reviewer struct {
	client.Client
	user  authenticationv1.UserInfo
	err   error
	asked int
}

func (r *reviewer) Create(_ context.Context, o client.Object, _ ...client.CreateOption) error {
	r.asked++
	o.(*authenticationv1.SelfSubjectReview).Status.UserInfo = r.user
	return r.err
}

func TestATokenOfAnotherNodeOrNoneIsReported(t *testing.T) {
	of := func(nodes ...string) map[string]authenticationv1.ExtraValue {
		return map[string]authenticationv1.ExtraValue{extraNode: nodes}
	}
	for _, c := range []struct {
		name  string
		extra map[string]authenticationv1.ExtraValue
		want  string
	}{
		{"its own node", of("node1"), ""},
		{"no node", nil, "the token, of speaker, is not bound to a node: with it one may write other nodes' objects"},
		{"an empty list", of(), "the token, of speaker, is not bound to a node: with it one may write other nodes' objects"},
		{"another node", of("node2"), "the token is bound to node node2, and --node-name is node1: the API server may refuse this speaker's writes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var logged bytes.Buffer
			api := &reviewer{user: authenticationv1.UserInfo{Username: "speaker", Extra: c.extra}}
			problem := Token(api, "node1", slog.New(slog.NewTextHandler(&logged, nil)))
			for range 2 {
				if have := problem(t.Context()); have != c.want {
					t.Errorf("want %q, have %q", c.want, have)
				}
			}
			if n := strings.Count(logged.String(), "level=WARN"); api.asked != 1 || n > 1 || (n == 1) != (c.want != "") {
				t.Errorf("it asked %d times, and logged:\n%s", api.asked, &logged)
			}
		})
	}
}

func TestATokenIsAskedForAgainUntilTheAPIServerAnswers(t *testing.T) {
	api := &reviewer{user: authenticationv1.UserInfo{Extra: map[string]authenticationv1.ExtraValue{extraNode: {"node1"}}}, err: errors.New("refused \x1b")}
	problem := Token(api, "node1", slog.New(slog.DiscardHandler))
	if have := problem(t.Context()); have != `the API server did not review this speaker's token: refused \x1b` {
		t.Errorf("have %q", have)
	}
	api.err = nil
	if have := problem(t.Context()); have != "" || api.asked != 2 {
		t.Errorf("have %q after %d questions", have, api.asked)
	}
}
