package kubeproxy

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// onNode asks programs of this node, kube-proxy above all: never through a proxy,
// whatever the environment says of one, and only at the address that was given. A
// redirect is no answer.
var onNode = http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// get returns what a program of this node says at a URL: the first 1,024 bytes of
// an answer 200, which must come within timeout.
func get(ctx context.Context, url string, timeout time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", fmt.Errorf("ask %s: %w", url, err)
	}
	answer, err := onNode.Do(request)
	if err != nil {
		return "", fmt.Errorf("ask this node: %w", err) // which names the URL
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s says %s", url, answer.Status)
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
	if err != nil {
		return "", fmt.Errorf("read the answer of %s: %w", url, err)
	}
	return strings.TrimSpace(string(text)), nil
}

// ProxyModeURL is where kube-proxy tells its mode, unless its
// --metrics-bind-address was changed.
const ProxyModeURL = "http://127.0.0.1:10249/proxyMode"

// ProxyMode asks kube-proxy, at a URL, for its mode; "": it does not answer as it
// should.
func ProxyMode(ctx context.Context, url string) string {
	text, err := get(ctx, url, time.Second)
	if err != nil || len(text) > 20 || strings.ContainsAny(text, " <\n") {
		return ""
	}
	return text
}
