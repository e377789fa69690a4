// Command generate writes what is made from the Helm chart: manifests under
// config/, and the table of values in the chart's README. Run it in charts/.
package main

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/steelyard-lb/steelyard/charts"
)

func main() {
	slog.SetLogLoggerLevel(slog.LevelWarn) // Helm tells of each symbolic link
	written, err := charts.Write("..")
	if err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
	for _, path := range written {
		fmt.Println("wrote", path)
	}
}
