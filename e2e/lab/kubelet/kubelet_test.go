package kubelet

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

func TestPodAddressesAreUsedInTurn(t *testing.T) {
	n := &nodeAddresses{Node: Node{PodsV4: netip.MustParsePrefix("10.244.7.0/24")}, last: 1, used: map[int]bool{}}
	n.keep("10.244.7.3")
	n.keep("10.244.8.2") // another node's
	var got []int
	for range 3 {
		got = append(got, n.take())
	}
	n.free(2)
	got = append(got, n.take())
	if d := cmp.Diff([]int{2, 4, 5, 6}, got); d != "" {
		t.Error(d)
	}
	for range 249 {
		n.take()
	}
	if got := n.take(); got != 0 {
		t.Errorf("a full node gave out %d", got)
	}
}

func TestWhatAPodRuns(t *testing.T) {
	cases := []struct {
		name, image   string
		command, args []string
		want          []string
	}{
		{name: "nothing said is a web server on 8080", want: []string{"/bin/agnhost", "netexec", "--http-port=8080", "--udp-port=8080"}},
		{name: "arguments alone are agnhost's", args: []string{"pause"}, want: []string{"/bin/agnhost", "pause"}},
		{name: "an image's agnhost is ours", command: []string{"/agnhost", "netexec"}, args: []string{"--http-port=80"}, want: []string{"/bin/agnhost", "netexec", "--http-port=80"}},
		{name: "another command is this machine's", command: []string{"sleep"}, args: []string{"9"}, want: []string{"sleep", "9"}},
		{name: "an image with a program of its own", image: "docker.io/library/traefik:v3", args: []string{"--ping"}, want: []string{"/bin/traefik", "--ping"}},
		{name: "the same, with nothing said", image: "traefik", want: []string{"/bin/traefik"}},
		{name: "the same, by its command", image: "traefik", command: []string{"/usr/local/bin/traefik"}, args: []string{"version"}, want: []string{"/bin/traefik", "version"}},
		{name: "another command in it is this machine's", image: "traefik", command: []string{"sleep", "9"}, want: []string{"sleep", "9"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			obj := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Image: c.image, Command: c.command, Args: c.args}}}}
			p := &pod{kubelet: &kubelet{Config: Config{Agnhost: "/bin/agnhost", Programs: map[string]string{"traefik": "/bin/traefik"}}}, obj: obj}
			if d := cmp.Diff(c.want, p.argv()); d != "" {
				t.Error(d)
			}
		})
	}
}
