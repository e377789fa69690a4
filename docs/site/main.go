// Command site makes the project's website from its Markdown: each page of docs, and those at
// the repository's root. Links to other pages become links of the site, links to sources lead
// to the repository. "make site" runs it.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	root := flag.String("root", ".", "folder of the checkout")
	out := flag.String("out", "dist/site", "folder to write the site to; what is there is removed")
	flag.Parse()
	s, err := newSite(os.DirFS(*root))
	if err == nil {
		err = s.write(*out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "site:", err)
		os.Exit(1)
	}
	fmt.Printf("%d pages in %s: open %s/index.html\n", len(s.pages), *out, *out)
}
