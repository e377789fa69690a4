package programs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const e2e = "../.."

func TestVersionsAndToolsAreFoundInTheModules(t *testing.T) {
	sets := images()
	sets["kubernetes"], sets["tests"], sets["node"], sets["kind"], sets["runtime"] = Newest(), Tests(), Node(), Kind(), Runtime()
	for _, version := range Versions() {
		set, err := Kubernetes(version)
		if err != nil {
			t.Fatal(err)
		}
		sets[version] = set
	}
	for name, set := range sets {
		version, err := set.version(e2e)
		if err != nil || strings.HasPrefix(version, "v") == (set.pin == "") || len(version) < 6 {
			t.Errorf("%s: version %q, %v", name, version, err)
		}
		text, err := os.ReadFile(filepath.Join(e2e, set.folder, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range set.programs {
			if !strings.Contains(string(text), "\t"+p.pkg+"\n") && !strings.Contains(string(text), "\ntool "+p.pkg+"\n") {
				t.Errorf("%s/go.mod lists no tool %s", set.folder, p.pkg)
			}
		}
	}
}

func TestKubernetesHasTheVersionsThatAreSupported(t *testing.T) {
	for _, want := range Versions() {
		set, err := Kubernetes(want)
		if err != nil {
			t.Fatal(err)
		}
		if version, err := set.version(e2e); err != nil || !strings.HasPrefix(version, "v"+want+".") {
			t.Errorf("the programs of %s are of %s, %v", want, version, err)
		}
	}
	if _, err := Kubernetes("1.30"); err == nil || !strings.Contains(err.Error(), strings.Join(Versions(), ", ")) {
		t.Errorf("%v does not say which there are", err)
	}
}

func TestAnImageIsKnownByItsLastName(t *testing.T) {
	for image, want := range map[string]string{
		"traefik":                            "traefik",
		"traefik:v3.7":                       "traefik",
		"localhost:5000/library/traefik":     "traefik",
		"docker.io/library/traefik@sha256:0": "traefik",
		"registry.k8s.io/e2e/agnhost:2.53":   "agnhost",
	} {
		if got := ImageName(image); got != want {
			t.Errorf("%s is %q, want %q", image, got, want)
		}
	}
	if _, ok := Image("docker.io/library/traefik:v3"); !ok {
		t.Error("Traefik is not found")
	}
	if _, ok := Image("nginx"); ok {
		t.Error("nginx is found, and nothing builds it")
	}
}

func TestProgramsAreWhereBuildPutsThem(t *testing.T) {
	paths, err := Paths(e2e, "/cache")
	if err != nil {
		t.Fatal(err)
	}
	version, err := images()["traefik"].version(e2e)
	if err != nil {
		t.Fatal(err)
	}
	if want := "/cache/traefik-" + version + "/traefik"; paths["traefik"] != want {
		t.Errorf("got %v, want %s", paths, want)
	}
}
