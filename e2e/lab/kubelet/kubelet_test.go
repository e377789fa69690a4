package kubelet

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/steelyard-lb/steelyard/e2e/lab/hosts"
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

func TestAPodIsReadyWhenItsPortAnswers(t *testing.T) {
	tcp, udp := corev1.ContainerPort{ContainerPort: 80}, corev1.ContainerPort{ContainerPort: 53, Protocol: corev1.ProtocolUDP}
	probe := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt32(8083)}}}
	for name, c := range map[string]struct {
		container corev1.Container
		want      int32
	}{
		"nothing said is a web server on 8080":   {corev1.Container{}, 8080},
		"so is netexec":                          {corev1.Container{Args: []string{"netexec"}}, 8080},
		"the first TCP port that is declared":    {corev1.Container{Ports: []corev1.ContainerPort{udp, tcp}}, 80},
		"with a UDP port the process suffices":   {corev1.Container{Ports: []corev1.ContainerPort{udp}}, 0},
		"without a port the process suffices":    {corev1.Container{Args: []string{"pause"}}, 0},
		"the port of the probe before all other": {corev1.Container{Ports: []corev1.ContainerPort{tcp}, ReadinessProbe: probe}, 8083},
	} {
		p := &pod{obj: &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{c.container}}}}
		if got := p.port(); got != c.want {
			t.Errorf("%s: port %d, want %d", name, got, c.want)
		}
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
			p := &pod{kubelet: &kubelet{Config: Config{Agnhost: "/bin/agnhost", Programs: map[string]string{"traefik": "/bin/traefik"}}}, node: &nodeAddresses{}, obj: obj}
			argv, folder := p.argv()
			if d := cmp.Diff(c.want, argv); d != "" || folder != "" {
				t.Errorf("in %q: %s", folder, d)
			}
		})
	}
}

// An image that was unpacked for the rack runs beside its other files.
func TestAnUnpackedImageRunsInItsFolder(t *testing.T) {
	dir := t.TempDir()
	link := Unpacked(dir, "example.org/operator:v1")
	if err := errors.Join(os.MkdirAll(filepath.Dir(link), 0o755), os.Symlink("/images/one/operator", link)); err != nil {
		t.Fatal(err)
	}
	obj := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Image: "example.org/operator:v1", Args: []string{"run"}}}}}
	p := &pod{kubelet: &kubelet{Config: Config{Table: hosts.Table{Folder: dir}}}, node: &nodeAddresses{}, obj: obj}
	argv, folder := p.argv()
	if d := cmp.Diff([]string{"/images/one/operator", "run"}, argv); d != "" || folder != "/images/one" {
		t.Errorf("in %q: %s", folder, d)
	}
}

func TestArgumentsNameVariables(t *testing.T) {
	field := func(path string) *corev1.EnvVarSource {
		return &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}
	}
	p := &pod{node: &nodeAddresses{Node: Node{Name: "node1"}}, obj: &corev1.Pod{Spec: corev1.PodSpec{NodeName: "node1", Containers: []corev1.Container{{
		Env: []corev1.EnvVar{{Name: "PLAIN", Value: "x"}, {Name: "NODE_NAME", ValueFrom: field("spec.nodeName")}},
	}}}}}
	got := p.expanded([]string{"--a=$(NODE_NAME)/$(PLAIN)", "$$(PLAIN)", "$(OTHER) $PLAIN $("})
	if d := cmp.Diff([]string{"--a=node1/x", "$(PLAIN)", "$(OTHER) $PLAIN $("}, got); d != "" {
		t.Error(d)
	}
}
