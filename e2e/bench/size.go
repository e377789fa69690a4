package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// sizePart needs no rack: what it measures are pure functions.
const sizePart = "size"

// sizes measures what an item costs in the largest configurations, against a
// tenth of them in the same run, by the benchmarks of that name.
func sizes(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^BenchmarkSize$", "-benchtime", "1x",
		"./internal/intent", "./internal/ipam", "./internal/announce", "./internal/planner")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("run the benchmarks: %w\n%s", err, out)
	}
	rows := [][]string{{"size", "items", "each", "against a tenth"}}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		if row := sizeOf(lines.Text()); row != nil {
			rows = append(rows, row)
		}
	}
	if len(rows) == 1 {
		return fmt.Errorf("the benchmarks say nothing:\n%s", out)
	}
	return table(rows)
}

// sizeOf reads a line of a benchmark, as in
//
//	BenchmarkSize/10,000_pools-2   1   10000 items   4407 ns/item   1.1 x-a-tenth
//
// It returns nil if the line is another.
func sizeOf(line string) []string {
	words := strings.Fields(line)
	if len(words) < 2 || !strings.HasPrefix(words[0], "BenchmarkSize/") {
		return nil
	}
	is := map[string]string{}
	for i := 2; i+1 < len(words); i += 2 {
		is[words[i+1]] = words[i]
	}
	name := strings.TrimPrefix(words[0], "BenchmarkSize/")
	if end := strings.LastIndexByte(name, '-'); end > 0 {
		name = name[:end]
	}
	return []string{strings.ReplaceAll(name, "_", " "), is["items"], is["ns/item"] + " ns", is["x-a-tenth"]}
}
