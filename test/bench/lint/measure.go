package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// rounds is how often each program runs on the same files, in turn; in each round
	// those that take less than a second run as often, to even out what else the
	// machine does.
	rounds = 5
	// charts makes about ten megabytes.
	charts = 320
)

// bench is one run of the benchmark.
type bench struct {
	dir            string // for manifests
	self, stsguard string // programs
	tools          []tool
	out            io.Writer
}

func (b *bench) measure(ctx context.Context, given string) error {
	fmt.Fprintf(b.out, "%s, %d cores, %s, %s/%s. Load when it began: %s.\n", cpu(), runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH, load())
	fmt.Fprintf(b.out, "Medians of %d runs in turn, and of %d of what takes less than a second; each run is a process of its own.\n", rounds, rounds*rounds)
	if err := writeRules(b.file("rules")); err != nil {
		return err
	}
	if err := writeCharts(b.file("charts"), charts); err != nil {
		return err
	}
	if err := write(b.file("pairs/pairs.yaml"), pairs(2000, right)); err != nil {
		return err
	}
	trees := []tree{{"Rendered charts, made here", b.file("charts")}, {"2,000 right pairs in one file", b.file("pairs")}}
	if given != "" {
		trees = append(trees, tree{"The directory given", given})
	}
	for _, t := range trees {
		if err := b.compare(ctx, t); err != nil {
			return err
		}
	}
	if err := b.growth(ctx); err != nil {
		return err
	}
	if err := b.start(ctx); err != nil {
		return err
	}
	return b.memory(ctx)
}

func (b *bench) file(name string) string { return filepath.Join(b.dir, name) }

// tree is a directory of manifests.
type tree struct{ title, dir string }

// compare runs each program on the tree.
func (b *bench) compare(ctx context.Context, t tree) error {
	files, err := manifests(t.dir)
	if err != nil {
		return err
	}
	var size int64
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			return fmt.Errorf("look at manifests: %w", err)
		}
		size += info.Size()
	}
	commands := []command{{"stsguard lint", b.stsguard, []string{"lint", t.dir}}, {"YAMLReader, reading and splitting only", b.self, []string{readCommand, t.dir}}}
	for _, tool := range b.tools {
		commands = append(commands, command{tool.name + " " + tool.version, tool.path, tool.args(b.file("rules"), t.dir, files)})
	}
	usages, err := b.inTurn(ctx, commands)
	if err != nil {
		return err
	}
	fmt.Fprintf(b.out, "\n%s. Files: %d, %.1f MB\n\n", t.title, len(files), float64(size)/1e6)
	fmt.Fprintf(b.out, "| program | seconds | times stsguard | processor seconds | times stsguard | peak memory | exit code |\n|---|---:|---:|---:|---:|---:|---:|\n")
	for i, u := range usages {
		fmt.Fprintf(b.out, "| %s | %.3f | %.2f | %.3f | %.2f | %.0f MB | %d |\n", commands[i].name, u.elapsed.Seconds(), ratio(u.elapsed, usages[0].elapsed),
			u.processor.Seconds(), ratio(u.processor, usages[0].processor), u.memory, u.code)
	}
	return nil
}

// growth shows how the time depends on the number of pairs.
func (b *bench) growth(ctx context.Context) error {
	fmt.Fprintf(b.out, "\nstsguard lint on pairs in one file: seconds, and processor microseconds for each pair\n\n| pairs | 500 | 1,000 | 2,000 | 4,000 |\n|---|---:|---:|---:|---:|\n")
	numbers := []int{500, 1000, 2000, 4000}
	for _, wrong := range []string{right, notHeadless, notFound, mismatch} {
		var commands []command
		for _, n := range numbers {
			file := b.file(fmt.Sprintf("growth/%s-%d.yaml", strings.ReplaceAll(wrong, " ", "-"), n))
			if err := write(file, pairs(n, wrong)); err != nil {
				return err
			}
			commands = append(commands, command{wrong, b.stsguard, []string{"lint", file}})
		}
		usages, err := b.inTurn(ctx, commands)
		if err != nil {
			return err
		}
		fmt.Fprintf(b.out, "| %s |", wrong)
		for i, u := range usages {
			fmt.Fprintf(b.out, " %.3f s, %.0f µs |", u.elapsed.Seconds(), u.processor.Seconds()*1e6/float64(numbers[i]))
		}
		fmt.Fprintln(b.out)
	}
	return nil
}

// start shows what a run costs that has next to nothing to do.
func (b *bench) start(ctx context.Context) error {
	small := b.file("small.yaml")
	if err := write(small, pairs(1, right)); err != nil {
		return err
	}
	usages, err := b.inTurn(ctx, []command{{"lint", b.stsguard, []string{"lint", small}}, {"version", b.stsguard, []string{"version"}}})
	if err != nil {
		return err
	}
	fmt.Fprintf(b.out, "\nStart-up: stsguard lint on one pair takes %.0f ms (%.0f ms of processor time), stsguard version %.0f ms.\n",
		usages[0].elapsed.Seconds()*1e3, usages[0].processor.Seconds()*1e3, usages[1].elapsed.Seconds()*1e3)
	return nil
}

// memory shows on what the peak of the memory depends.
func (b *bench) memory(ctx context.Context) error {
	text := configMaps()
	for i := range 100 {
		if i < 10 {
			if err := write(b.file(fmt.Sprintf("unwanted-10/%d.yaml", i)), text); err != nil {
				return err
			}
		}
		if err := write(b.file(fmt.Sprintf("unwanted-100/%d.yaml", i)), text); err != nil {
			return err
		}
	}
	if err := writeCharts(b.file("charts-10"), 10*charts); err != nil {
		return err
	}
	commands := []command{
		{"10 files of 1 MB with nothing wanted", b.stsguard, []string{"lint", b.file("unwanted-10")}},
		{"100 such files", b.stsguard, []string{"lint", b.file("unwanted-100")}},
		{fmt.Sprintf("%d rendered charts", charts), b.stsguard, []string{"lint", b.file("charts")}},
		{fmt.Sprintf("%d rendered charts", 10*charts), b.stsguard, []string{"lint", b.file("charts-10")}},
	}
	usages, err := b.inTurn(ctx, commands)
	if err != nil {
		return err
	}
	fmt.Fprintf(b.out, "\nPeak memory of stsguard lint\n\n| what is read | peak memory |\n|---|---:|\n")
	for i, u := range usages {
		fmt.Fprintf(b.out, "| %s | %.0f MB |\n", commands[i].name, u.memory)
	}
	return nil
}

// command is a program with its arguments.
type command struct {
	name, path string
	args       []string
}

// usage is what a process took.
type usage struct {
	elapsed, processor time.Duration
	memory             float64 // its peak, in MB
	code               int
}

// inTurn runs all commands in each round, and returns the median of each.
func (b *bench) inTurn(ctx context.Context, commands []command) ([]usage, error) {
	all := make([][]usage, len(commands))
	for range rounds {
		for i, c := range commands {
			for again := range rounds {
				u, err := run1(ctx, c)
				if err != nil {
					return nil, err
				}
				all[i] = append(all[i], u)
				if again == 0 && u.elapsed > time.Second {
					break
				}
			}
		}
	}
	medians := make([]usage, len(commands))
	for i, of := range all {
		m := &medians[i]
		m.elapsed = median(of, func(u usage) time.Duration { return u.elapsed })
		m.processor = median(of, func(u usage) time.Duration { return u.processor })
		m.memory = median(of, func(u usage) float64 { return u.memory })
		m.code = of[0].code
	}
	return medians, nil
}

func median[T time.Duration | float64](of []usage, value func(usage) T) T {
	values := make([]T, len(of))
	for i, u := range of {
		values[i] = value(u)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func ratio(a, b time.Duration) float64 { return a.Seconds() / b.Seconds() }

// run1 runs one process to its end, whatever its exit code.
func run1(ctx context.Context, c command) (usage, error) {
	cmd := exec.CommandContext(ctx, c.path, c.args...)
	begin := time.Now()
	err := cmd.Run()
	u := usage{elapsed: time.Since(begin)}
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || !exit.Exited()) {
		return u, fmt.Errorf("run %s: %w", c.name, err)
	}
	u.code = cmd.ProcessState.ExitCode()
	u.processor = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if r, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		u.memory = float64(r.Maxrss) / 1024 // Linux counts in KB
	}
	return u, nil
}

// cpu names the processor, as far as Linux tells it.
func cpu() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// load is how busy the machine was in the last minute, as far as Linux tells it.
func load() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "not known"
	}
	first, _, _ := strings.Cut(string(data), " ")
	return first
}
