package hosts

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A confined process has its user and its capabilities, and can't get others,
// though its user can't reach the program's folder.
func TestConfine(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	closed := filepath.Join(t.TempDir(), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	grep, err := exec.LookPath("grep")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(closed, "program")
	if out, err := exec.Command("cp", grep, program).CombinedOutput(); err != nil {
		t.Fatalf("copy a program: %v\n%s", err, out)
	}
	for _, c := range []struct {
		name string
		p    Privileges
		caps string // as the kernel writes them
	}{
		{"no capabilities", Privileges{User: 65532}, "0000000000000000"},
		{"two capabilities", Privileges{User: 65532, Capabilities: []string{"NET_RAW", "NET_ADMIN"}}, "0000000000003000"},
		{"root with one", Privileges{Capabilities: []string{"NET_RAW"}}, "0000000000002000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			argv := append(c.p.confine(), program, "-E", "^(Uid|Gid|Groups|NoNewPrivs|Cap...):", "/proc/self/status")
			out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			user := "65532"
			if c.p.User == 0 {
				user = "0"
			}
			want := []string{"NoNewPrivs: 1", "Groups:"}
			for _, set := range []string{"Prm", "Eff", "Bnd", "Inh", "Amb"} {
				want = append(want, "Cap"+set+": "+c.caps)
			}
			for _, id := range []string{"Uid:", "Gid:"} {
				want = append(want, id+strings.Repeat(" "+user, 4))
			}
			have := map[string]bool{}
			for line := range strings.Lines(string(out)) {
				have[strings.Join(strings.Fields(line), " ")] = true
			}
			for _, line := range want {
				if !have[line] {
					t.Errorf("want %q in\n%s", line, out)
				}
			}
		})
	}
}
