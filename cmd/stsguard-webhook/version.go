package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version says which program this is: its module's version, Go's, and what it
// was built for.
func version() string {
	module := "(devel)"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		module = info.Main.Version
	}
	return fmt.Sprintf("stsguard-webhook %s %s %s/%s", module, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
