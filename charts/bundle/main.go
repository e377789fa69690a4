// Command bundle writes the bundle of a release for the Operator Lifecycle Manager.
// Run it in charts/, after the images were pushed, the operator's among them.
package main

import (
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/charts/olm"
)

func main() {
	slog.SetLogLoggerLevel(slog.LevelWarn) // Helm tells of each symbolic link
	b := olm.Bundle{Root: ".."}
	out := flag.String("out", "../dist", "folder for bundle/; images.txt and the release's chart are there")
	flag.StringVar(&b.Tag, "tag", "", "tag of the release, as v1.2.3")
	arches := flag.String("arches", "", "comma list of the images' architectures, as Go names them, and armv7")
	created := flag.Int64("created", 0, "time of the release, in seconds since 1970: that of the commit, so that equal sources give equal bundles")
	flag.Parse()
	b.Arches, b.Created = strings.Split(*arches, ","), time.Unix(*created, 0).UTC()
	if err := write(b, *out); err != nil {
		fmt.Fprintln(os.Stderr, "bundle:", err)
		os.Exit(1)
	}
}

func write(b olm.Bundle, out string) error {
	images, err := os.ReadFile(filepath.Join(out, "images.txt"))
	if err != nil {
		return fmt.Errorf("read which images were pushed: %w", err)
	}
	b.Images = string(images)
	return b.Write(filepath.Join(out, "bundle"))
}
