package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// lacking has all capabilities but SYS_RESOURCE, which is number 24.
const lacking = "Name:\tbounded\nCapEff:\t000001fffeffffff\nCapBnd:\t000001fffeffffff\nCapAmb:\t0000000000000000\n"

func TestWhatCannotBeGivenIsTakenOut(t *testing.T) {
	l, err := parseLimits(lacking, "-500\n")
	if err != nil {
		t.Fatal(err)
	}
	const process = `{"capabilities":{"bounding":["CAP_NET_RAW","CAP_SYS_RESOURCE"],"effective":["CAP_SYS_RESOURCE"]},"oomScoreAdj":-999}`
	const fitted = `{"capabilities":{"bounding":["CAP_NET_RAW"],"effective":[]},"oomScoreAdj":-500}`
	for at, c := range map[string]struct{ have, want string }{
		"":        {process, fitted},
		"process": {`{"linux":{"seccomp":{"big":18446744073709551615}},"process":` + process + `}`, `{"linux":{"seccomp":{"big":18446744073709551615}},"process":` + fitted + `}`},
	} {
		got, err := l.fit([]byte(c.have), at)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, string(got)); diff != "" {
			t.Errorf("at %q (-want +got):\n%s", at, diff)
		}
	}
}

func TestAProcessThatLacksNothingTakesNothingOut(t *testing.T) {
	l, err := parseLimits(strings.ReplaceAll(lacking, "1fffeffffff", "1ffffffffff"), "0\n")
	if err != nil {
		t.Fatal(err)
	}
	const process = `{"capabilities":{"bounding":["CAP_NET_RAW","CAP_SYS_RESOURCE"]},"oomScoreAdj":-999}`
	got, err := l.fit([]byte(process), "")
	if err != nil || string(got) != process {
		t.Errorf("%s, %v; want it as it was", got, err)
	}
}

func TestACapabilityWithoutANameHereIsLeftToRunc(t *testing.T) {
	if !(limits{}).has("CAP_OF_THE_FUTURE") {
		t.Error("it is taken out")
	}
}

func TestTheSpecificationIsFoundInEachCommand(t *testing.T) {
	for line, want := range map[string][2]string{
		"--root /r --log /l create --bundle /b --pid-file /p id": {"/b/config.json", "process"},
		"run -b /b id":          {"/b/config.json", "process"},
		"create --bundle=/b id": {"/b/config.json", "process"},
		"create id":             {"config.json", "process"},
		"exec --process /b/p.json --detach --pid-file /p id": {"/b/p.json", ""},
		"--root /r exec id sh":                               {"", ""},
		"--root /r state id":                                 {"", ""},
		"--version":                                          {"", ""},
	} {
		file, at := specification(strings.Fields(line))
		if got := [2]string{file, at}; got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}

func TestAFileIsRewrittenInItsPlace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(file, []byte(`{"process":{"capabilities":{"permitted":["CAP_SYS_RESOURCE"]}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (limits{}).rewrite(file, "process"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil || !json.Valid(text) || strings.Contains(string(text), "SYS_RESOURCE") {
		t.Errorf("%s, %v", text, err)
	}
	if entries, err := os.ReadDir(filepath.Dir(file)); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v; want no other file", entries, err)
	}
}
