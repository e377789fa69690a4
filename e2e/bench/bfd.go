package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// bfd has the benchmarks of internal/bfd measure what they do: pairs of
// processes in two network namespaces, without a cluster.
func bfd(ctx context.Context) error {
	fmt.Println("bfd: cost, detection, false alarms; two and a half minutes")
	c := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", ".", "-benchtime", "1x", "./internal/bfd")
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return fmt.Errorf("benchmarks of internal/bfd: %w\n%s", err, out)
	}
	return table(figures(string(out)))
}

// figures reads what "go test -bench" prints: a name, a number of rounds, and
// then values and their units, in which _ stands for a blank. Only such units
// are figures of ours.
func figures(out string) [][]string {
	rows := [][]string{{"BFD between two processes", ""}}
	for line := range strings.Lines(out) {
		words := strings.Fields(line)
		if len(words) == 0 || !strings.HasPrefix(words[0], "Benchmark") {
			continue
		}
		for i := 3; i < len(words); i += 2 {
			if strings.Contains(words[i], "_") {
				rows = append(rows, []string{strings.ReplaceAll(words[i], "_", " "), words[i-1]})
			}
		}
	}
	return rows
}
