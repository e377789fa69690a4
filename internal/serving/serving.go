// Package serving decides which HTTP requests a program answers: by host name, by the
// requesting page's site, and by the API server's decision on the client's token. It does
// not decide what is served.
package serving

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// OnlyFor passes on to next the requests for an address, for localhost or for one of names
// that do not come from another site's page. A browser sends the name that it has looked
// up. If a foreign site resolves its own name to this server (DNS rebinding), the browser
// would take the answer for that site's.
func OnlyFor(names []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		switch {
		case !known(names, q.Host):
			http.Error(w, "This server does not have that name. Use an address, or localhost; the controller also accepts the names in --page-hosts.", http.StatusMisdirectedRequest)
		case foreign(q):
			http.Error(w, "Pages of other sites may not use this.", http.StatusForbidden)
		default:
			next.ServeHTTP(w, q)
		}
	})
}

// known reports whether a Host header names this server.
func known(names []string, header string) bool {
	host := header
	if h, _, err := net.SplitHostPort(header); err == nil {
		host = h
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return true
	}
	return slices.ContainsFunc(append([]string{"localhost"}, names...), func(name string) bool { return strings.EqualFold(name, host) })
}

// foreign reports whether a browser sent the request for another site's page. Following a
// link on such a page is allowed (Fetch Metadata Request Headers, section 2).
func foreign(q *http.Request) bool {
	switch q.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
	default:
		if q.Header.Get("Sec-Fetch-Mode") != "navigate" || q.Header.Get("Sec-Fetch-Dest") != "document" {
			return true
		}
	}
	origins := q.Header.Values("Origin")
	return slices.ContainsFunc(origins, func(origin string) bool {
		u, err := url.Parse(origin)
		return err != nil || u.Host != q.Host
	})
}
