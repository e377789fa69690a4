package kubeproxy

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// onNode sends requests to programs on this node, kube-proxy above all. It ignores the
// environment's proxy settings, and does not follow redirects.
var onNode = http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// get returns the first 1,024 bytes of an answer with status 200 from a program on this
// node. Any other answer, or none within timeout, is an error.
func get(ctx context.Context, url string, timeout time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", fmt.Errorf("ask %s: %w", url, err)
	}
	answer, err := onNode.Do(request)
	if err != nil {
		return "", fmt.Errorf("ask this node: %w", err) // err names the URL
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answers %s", url, answer.Status)
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
	if err != nil {
		return "", fmt.Errorf("read the answer of %s: %w", url, err)
	}
	return strings.TrimSpace(string(text)), nil
}

// ProxyModeURL is where kube-proxy serves its mode, unless its --metrics-bind-address was
// changed.
const ProxyModeURL = "http://127.0.0.1:10249/proxyMode"

// ProxyMode returns kube-proxy's mode as served at url; "" if it does not answer properly.
func ProxyMode(ctx context.Context, url string) string {
	text, err := get(ctx, url, time.Second)
	if err != nil || len(text) > 20 || strings.ContainsAny(text, " <\n") {
		return ""
	}
	return text
}
