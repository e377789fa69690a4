package debug

import (
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/layer2"
)

func TestDebugAnnouncements(t *testing.T) {
	links := layer2.New(slog.New(slog.DiscardHandler), layer2.Options{})
	answer := func() (got []announcement) {
		w := httptest.NewRecorder()
		Server{Links: links, Log: slog.New(slog.DiscardHandler)}.announcements(w, nil)
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := answer(); got == nil || len(got) != 0 {
		t.Errorf("without claims: %v, want an empty list", got)
	}
	links.Set([]announce.Claim{{Addr: netip.MustParseAddr("2001:db8::1"), NeedsDAD: true}, {Addr: netip.MustParseAddr("192.0.2.1")}})
	want := []announcement{{Address: "192.0.2.1", State: layer2.Announced, Links: []string{}}, {Address: "2001:db8::1", State: layer2.Probing, Links: []string{}}}
	if diff := cmp.Diff(want, answer()); diff != "" {
		t.Errorf("announcements (-want +got):\n%s", diff)
	}
}
