// Package gc has the garbage collector of a short-lived program do less. It works
// by being imported, and knows next to nothing: so it is initialized before the
// libraries, for which the collector would run twice until main begins.
package gc

import (
	"os"
	"runtime"
	"runtime/debug"
)

const (
	// first is until something was collected: the heap grows to 64 MB before that,
	// and few runs take more.
	first = 1600
	// then is for the others.
	then = 400
)

func init() {
	if os.Getenv("GOGC") != "" {
		return
	}
	debug.SetGCPercent(first)
	runtime.AddCleanup(new(*int), func(percent int) { debug.SetGCPercent(percent) }, then)
}
