// Package serving is who may ask a program by HTTP: for its metrics, and for the
// page beside them.
package serving

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// OnlyFor answers for next only who asks for an address, for localhost or for one
// of names, and did not come by another site's page. A browser sends the name that
// it has looked up: if a foreign site has its own name lead here (DNS rebinding),
// the browser takes what it gets for that site's.
func OnlyFor(names []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		switch {
		case !known(names, q.Host):
			http.Error(w, "This is not served by that name: ask for an address, or for localhost; the controller takes the names of --page-hosts, too.", http.StatusMisdirectedRequest)
		case foreign(q):
			http.Error(w, "This is not for other sites' pages.", http.StatusForbidden)
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

// foreign reports whether a browser asks for another site's page. It may follow a
// link of one (Fetch Metadata Request Headers, section 2).
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
