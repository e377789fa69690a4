package serving

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestOnlyFor(t *testing.T) {
	const fine, misdirected, forbidden = http.StatusOK, http.StatusMisdirectedRequest, http.StatusForbidden
	link := map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
	for name, x := range map[string]struct {
		host    string
		headers map[string]string
		want    int
	}{
		"an IPv4 address":                       {"192.0.2.1", nil, fine},
		"an IPv4 address with a port":           {"192.0.2.1:7472", nil, fine},
		"an IPv6 address":                       {"[2001:db8::1]", nil, fine},
		"an IPv6 address with a port":           {"[2001:db8::1]:7472", nil, fine},
		"localhost":                             {"localhost:7472", nil, fine},
		"localhost in capitals":                 {"LOCALHOST", nil, fine},
		"a name that was configured":            {"steelyard.example:7472", nil, fine},
		"another name":                          {"evil.example:7472", nil, misdirected},
		"a name that ends like one":             {"x.steelyard.example", nil, misdirected},
		"a name that begins like an address":    {"127.0.0.1.evil.example", nil, misdirected},
		"localhost of another site":             {"localhost.evil.example", nil, misdirected},
		"a number that old resolvers take":      {"2130706433", nil, misdirected},
		"no name":                               {"", nil, misdirected},
		"a browser's address bar":               {"localhost", map[string]string{"Sec-Fetch-Site": "none"}, fine},
		"the page's own link":                   {"localhost", map[string]string{"Sec-Fetch-Site": "same-origin"}, fine},
		"another site's link":                   {"localhost", link, fine},
		"another site's script":                 {"localhost", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "empty"}, forbidden},
		"another site's frame":                  {"localhost", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, forbidden},
		"another port's script":                 {"localhost", map[string]string{"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, forbidden},
		"its own origin":                        {"localhost:7472", map[string]string{"Origin": "http://localhost:7472"}, fine},
		"another origin":                        {"localhost:7472", map[string]string{"Origin": "http://evil.example"}, forbidden},
		"another port's origin":                 {"localhost:7472", map[string]string{"Origin": "http://localhost:80"}, forbidden},
		"an origin that says nothing":           {"localhost:7472", map[string]string{"Origin": "null"}, forbidden},
		"another name and its own origin there": {"evil.example", map[string]string{"Origin": "http://evil.example"}, misdirected},
	} {
		h := OnlyFor([]string{"steelyard.example"}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "secret") }))
		q := httptest.NewRequest(http.MethodGet, "/", nil)
		q.Host = x.host
		for k, v := range x.headers {
			q.Header.Set(k, v)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, q)
		if w.Code != x.want || (w.Body.String() == "secret") != (x.want == fine) || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v %q, want %d", name, w.Code, w.Header(), w.Body, x.want)
		}
	}
}
