// Command release makes the chart and the manifests of a release, which name its
// images by registry, tag and digest. Run it in charts/, after the images were
// pushed.
package main

import (
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/steelyard-lb/steelyard/charts"
)

func main() {
	slog.SetLogLoggerLevel(slog.LevelWarn) // Helm tells of each symbolic link
	var r charts.Release
	out := flag.String("out", "../dist", "folder for what is written; images.txt is there")
	flag.StringVar(&r.Tag, "tag", "", "tag of the release, as v1.2.3")
	created := flag.Int64("created", 0, "time of the files, in seconds since 1970: that of the commit, so that equal sources give equal archives")
	flag.Parse()
	r.Created = time.Unix(*created, 0).UTC()
	if err := write(r, *out); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func write(r charts.Release, out string) error {
	images, err := os.ReadFile(filepath.Join(out, "images.txt"))
	if err != nil {
		return fmt.Errorf("read which images were pushed: %w", err)
	}
	r.Images = string(images)
	return r.Write("..", out)
}
