package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	// progressEvery is how often the progress line is written anew.
	progressEvery = 200 * time.Millisecond
	// progressAfter is how many times it isn't: most runs take no second.
	progressAfter = 4
)

// progress shows on standard error how far a run is, if that is a terminal and
// nobody wants quiet, until the function that it returns is called.
func (c *Command) progress(o *output, line func() string) (stop func()) {
	if o.quiet || !c.isTerminal(c.Stderr) {
		return func() {}
	}
	ticker := time.NewTicker(progressEvery)
	erase := showProgress(c.Stderr, ticker.C, line)
	return func() {
		ticker.Stop()
		erase()
	}
}

// showProgress writes the line over itself with each tick but the first few,
// until the function that it returns is called, which erases it.
func showProgress(w io.Writer, ticks <-chan time.Time, line func() string) (erase func()) {
	const clear = "\r\x1b[K"
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-ticks:
				if n >= progressAfter {
					fmt.Fprint(w, clear+line())
				}
			case <-stop:
				if n > progressAfter {
					fmt.Fprint(w, clear)
				}
				return
			}
		}
	})
	return sync.OnceFunc(func() {
		close(stop)
		writer.Wait()
	})
}
