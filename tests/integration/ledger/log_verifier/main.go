// A verifier of our log that shares no code with it: Go's own transparency log packages
// (golang.org/x/mod/sumdb/note and tlog), which read C2SP tlog-tiles of height 8.
// Usage: log_verifier URL VERIFIER_KEY [FILE with an earlier checkpoint]
package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type tiles struct {
	url  string
	kept map[tlog.Tile][]byte
}

func (t tiles) Height() int                     { return 8 }
func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {} // ReadTiles keeps what it read
func (t tiles) ReadTiles(wanted []tlog.Tile) (data [][]byte, err error) {
	for _, tile := range wanted {
		if t.kept[tile] == nil {
			t.kept[tile] = get(t.url + strings.Replace(tile.Path(), "tile/8/", "tile/", 1))
		}
		data = append(data, t.kept[tile])
	}
	return data, nil
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func get(url string) []byte {
	answer, err := http.Get(url)
	check(err)
	body, err := io.ReadAll(answer.Body)
	check(err)
	if answer.StatusCode != 200 {
		log.Fatalf("%s: %s", url, answer.Status)
	}
	return body
}

func open(text []byte, key note.Verifier) (tree tlog.Tree) {
	signed, err := note.Open(text, note.VerifierList(key))
	check(err)
	var origin, root string
	_, err = fmt.Sscanf(signed.Text, "%s\n%d\n%s\n", &origin, &tree.N, &root)
	check(err)
	if origin != key.Name() {
		log.Fatalf("the checkpoint is of %s", origin)
	}
	raw, err := base64.StdEncoding.DecodeString(root)
	check(err)
	copy(tree.Hash[:], raw)
	return tree
}

func main() {
	url := os.Args[1] + "/"
	key, err := note.NewVerifier(os.Args[2])
	check(err)
	tree := open(get(url+"checkpoint"), key)
	hashes := tlog.TileHashReader(tree, tiles{url, map[tlog.Tile][]byte{}}) // checks each tile against the root
	for first := int64(0); first < tree.N; first += 256 {
		bundle := tlog.Tile{H: 8, L: 0, N: first / 256, W: 256}
		if tree.N-first < 256 {
			bundle.W = int(tree.N - first)
		}
		data := get(url + strings.Replace(bundle.Path(), "tile/8/0/", "tile/entries/", 1))
		for n := first; n < first+int64(bundle.W); n++ {
			length := int(data[0])<<8 | int(data[1])
			proof, err := tlog.ProveRecord(tree.N, n, hashes)
			check(err)
			check(tlog.CheckRecord(proof, tree.N, tree.Hash, n, tlog.RecordHash(data[2:2+length])))
			data = data[2+length:]
		}
		if len(data) != 0 {
			log.Fatalf("bytes after the last entry of a bundle")
		}
	}
	if len(os.Args) > 3 {
		text, err := os.ReadFile(os.Args[3])
		check(err)
		earlier := open(text, key)
		proof, err := tlog.ProveTree(tree.N, earlier.N, hashes)
		check(err)
		check(tlog.CheckTree(proof, tree.N, tree.Hash, earlier.N, earlier.Hash))
		fmt.Printf("consistent with %d entries; ", earlier.N)
	}
	fmt.Printf("%d entries verified\n", tree.N)
}
