// Guards takes the library's guards out, one at a time, and shows that a test fails without each: checksums, checks of keys
// and ETags, conditions, aborts, limits, redaction. From the root of the repository:
//
//	go run ./integration/guards                 # all, in some minutes
//	go run ./integration/guards -only memory    # those whose file or name matches
//
// The source stays as it is: by -overlay a test binary is built in which each function that has guards can be run without
// one of them, as an environment variable says. A guard that no test misses, or a row that does not build, exits with 1.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	module    = "github.com/pacs-extension/maskstore"
	variable  = "MASKSTORE_GUARD_OFF" // names the guard that is out, by its number
	atATime   = 2
	timeLimit = 2 * time.Minute // of the tests of one guard
)

func main() {
	only := flag.String("only", "", "a regular expression: only guards whose file and name match")
	flag.Parse()
	if err := run(*only); err != nil {
		fmt.Fprintln(os.Stderr, "guards:", err)
		os.Exit(1)
	}
}

func run(only string) error {
	picked, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	root, err := moduleDir()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "guards-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	all := allGuards()
	overlay, err := writeOverlay(root, dir, all)
	if err != nil {
		return err
	}
	rows := slices.DeleteFunc(slices.Clone(all), func(g guard) bool { return !picked.MatchString(g.file + ": " + g.name) })
	binaries, err := build(root, dir, overlay, rows, all)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := checkWhole(binaries, root, rows); err != nil {
		return err
	}
	unnoticed := try(binaries, root, rows)
	fmt.Printf("%d guards, %d noticed, %d UNNOTICED, in %v\n",
		len(rows), len(rows)-unnoticed, unnoticed, time.Since(began).Round(time.Second))
	if unnoticed > 0 {
		return errors.New("there are guards that no test misses")
	}
	return nil
}

func moduleDir() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	return strings.TrimSpace(string(out)), err
}

// writeOverlay writes the switched files and what tells the go command of them.
func writeOverlay(root, dir string, all []guard) (string, error) {
	replace := make(map[string]string)
	add := func(name string, content []byte) error {
		copied := filepath.Join(dir, strings.ReplaceAll(name, "/", "_"))
		replace[filepath.Join(root, name)] = copied
		return os.WriteFile(copied, content, 0o600)
	}
	byFile := make(map[string][]guard)
	for _, g := range all {
		byFile[g.file] = append(byFile[g.file], g)
	}
	for name, guards := range byFile {
		src, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return "", err
		}
		switched, packageName, err := switchable(src, guards)
		if err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		chooser := fmt.Sprintf("package %s\n\nimport \"os\"\n\nvar guardOff = os.Getenv(%q)\n", packageName, variable)
		err = errors.Join(add(name, switched), add(path.Join(path.Dir(name), "guardoff.go"), []byte(chooser)))
		if err != nil {
			return "", err
		}
	}
	data, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, data, 0o600)
}

// build builds the test binaries of the packages that the rows need.
func build(root, dir, overlay string, rows, all []guard) (map[string]string, error) {
	binaries := make(map[string]string)
	for _, g := range rows {
		if binaries[g.pkg] != "" {
			continue
		}
		binary := filepath.Join(dir, strings.ReplaceAll(g.pkg, "/", "_")+".test")
		cmd := exec.Command("go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-overlay="+overlay, "-o", binary, "./"+g.pkg)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			for _, m := range regexp.MustCompile(lineName+`(\d+):`).FindAllSubmatch(out, -1) {
				n, _ := strconv.Atoi(string(m[1]))
				fmt.Printf("%-16s %s: %s\n", "does not build", all[n-1].file, all[n-1].name)
			}
			return nil, fmt.Errorf("%w\n%s", err, out)
		}
		binaries[g.pkg] = binary
	}
	return binaries, nil
}

// checkWhole makes sure that the tests pass while all guards are in.
func checkWhole(binaries map[string]string, root string, rows []guard) error {
	for pkg, binary := range binaries {
		var tests []string
		for _, g := range rows {
			if g.pkg == pkg {
				tests = append(tests, strings.Split(g.test, "|")...)
			}
		}
		slices.Sort(tests)
		g := guard{pkg: pkg, test: strings.Join(slices.Compact(tests), "|")}
		if _, out, err := g.try(binary, root, 10*timeLimit); err != nil {
			return fmt.Errorf("with all guards in: %w\n%s", err, out)
		}
	}
	return nil
}

// try runs each row's tests without its guard, and gives how many rows none of them fails for.
func try(binaries map[string]string, root string, rows []guard) (unnoticed int) {
	var group sync.WaitGroup
	var mu sync.Mutex
	next := make(chan guard)
	for range atATime {
		group.Go(func() {
			for g := range next {
				by, _, err := g.try(binaries[g.pkg], root, timeLimit)
				said := "noticed by " + by
				mu.Lock()
				if by == "" {
					said = fmt.Sprintf("UNNOTICED by %s (%v)", g.test, err)
					unnoticed++
				}
				fmt.Printf("%-24s %-60s %s\n", g.file, g.name, said)
				mu.Unlock()
			}
		})
	}
	for _, g := range rows {
		next <- g
	}
	close(next)
	group.Wait()
	return unnoticed
}

var failed = regexp.MustCompile(`(?m)^--- FAIL: (\S+)|^(panic|goleak): `)

// try runs the guard's tests without it, and gives what fails, or "". What does not end in time has not failed: it may be
// the machine that is slow.
func (g *guard) try(binary, root string, limit time.Duration) (by string, out []byte, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "-test.run=^("+g.test+")$", "-test.failfast")
	cmd.Dir = filepath.Join(root, g.pkg)
	cmd.Env = append(os.Environ(), variable+"="+strconv.Itoa(g.number))
	out, err = cmd.CombinedOutput()
	if m := failed.FindSubmatch(out); m != nil && ctx.Err() == nil {
		by = string(m[1]) + string(m[2])
	}
	return by, out, cmp.Or(ctx.Err(), err)
}
