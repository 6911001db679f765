// Prints the names of the images that the conformance suite asks for, one on a line.
package main

import (
	"fmt"
	"io/fs"
	"log"
	"slices"
	"strings"

	"sigs.k8s.io/network-policy-api/conformance"
)

func main() {
	names := map[string]bool{}
	err := fs.WalkDir(conformance.Manifests, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".yaml") {
			return err
		}
		text, err := conformance.Manifests.ReadFile(path)
		for line := range strings.Lines(string(text)) {
			if _, name, ok := strings.Cut(line, "image: "); ok {
				names[strings.TrimSpace(name)] = true
			}
		}
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	var sorted []string
	for name := range names {
		sorted = append(sorted, name)
	}
	slices.Sort(sorted)
	for _, name := range sorted {
		fmt.Println(name)
	}
}
