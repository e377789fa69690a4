package status

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/internal/printable"
)

// extraNode is the key under which the API server has the node to whose Pod a token is bound.
const extraNode = "authentication.kubernetes.io/node-name"

// Token returns a function that returns why the API server can't confine this speaker to its
// node's objects; "" if it can. The function asks the API server until it has answered once.
func Token(c client.Client, node string, log *slog.Logger) func(context.Context) string {
	answered, problem := false, ""
	return func(ctx context.Context) string {
		if answered {
			return problem
		}
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		review := &authenticationv1.SelfSubjectReview{}
		if err := c.Create(ctx, review); err != nil {
			return printable.Message(fmt.Sprintf("the API server did not review this speaker's token: %v", err))
		}
		answered, problem = true, tokenProblem(review.Status.UserInfo, node)
		if problem != "" {
			log.Warn("the API server can't confine this speaker to its node's objects", "reason", problem)
		}
		return problem
	}
}

// tokenProblem returns why the API server cannot tell that user is node's speaker; "" if it can.
func tokenProblem(user authenticationv1.UserInfo, node string) string {
	switch of := user.Extra[extraNode]; {
	case len(of) == 0:
		return printable.Message(fmt.Sprintf("the token, of %s, is not bound to a node: with it one may write other nodes' objects", user.Username))
	case of[0] != node:
		return printable.Message(fmt.Sprintf("the token is bound to node %s, and --node-name is %s: the API server may refuse this speaker's writes", of[0], node))
	}
	return ""
}
