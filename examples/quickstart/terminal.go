package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/pacs-extension/maskstore"
)

// stopwatch gives a function that writes a line about what was done since its last call.
func stopwatch(out io.Writer) func(what, format string, args ...any) {
	last := time.Now()
	return func(what, format string, args ...any) {
		now := time.Now()
		fmt.Fprintf(out, "%7.1f ms  %-10s  %s\n", float64(now.Sub(last).Microseconds())/1000, what, fmt.Sprintf(format, args...))
		last = now
	}
}

// progressBar gives what draws a bar on a terminal; nil where out is none.
func progressBar(out io.Writer) func(maskstore.Progress) {
	f, ok := out.(*os.File)
	if !ok {
		return nil
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return nil
	}
	const width = 40
	return func(p maskstore.Progress) {
		full := width * p.Done / max(p.Total, 1)
		fmt.Fprintf(out, "\r%s%s %d of %d", strings.Repeat("█", full), strings.Repeat("░", width-full), p.Done, p.Total)
		if p.Done == p.Total {
			fmt.Fprint(out, "\r\x1b[K")
		}
	}
}

func kilobytes(n int64) string { return fmt.Sprintf("%.1f KB", float64(n)/1000) }
