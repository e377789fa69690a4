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

// extraNode is where the API server has the node that a token is bound to, by its Pod.
const extraNode = "authentication.kubernetes.io/node-name"

// Token returns what says why the API server can't hold this node's speaker to what
// is its own; "": it can. The API server is asked until it has answered once.
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
			return printable.Message(fmt.Sprintf("the API server does not say whose this speaker's token is: %v", err))
		}
		answered, problem = true, tokenProblem(review.Status.UserInfo, node)
		if problem != "" {
			log.Warn("the API server can't hold this speaker to what is its own node's", "why", problem)
		}
		return problem
	}
}

// tokenProblem says what is wrong with who a node's speaker is to the API server.
func tokenProblem(user authenticationv1.UserInfo, node string) string {
	switch of := user.Extra[extraNode]; {
	case len(of) == 0:
		return printable.Message(fmt.Sprintf("the token, of %s, tells no node: who has it may write what is other nodes'", user.Username))
	case of[0] != node:
		return printable.Message(fmt.Sprintf("the token is of node %s, and --node-name says %s: what this speaker writes may be refused", of[0], node))
	}
	return ""
}
