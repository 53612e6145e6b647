SHELL := /bin/bash
.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: controlplane ## Show the main job on a real, throwaway control plane
	@go run ./test/demo

.PHONY: test
test: controlplane ## Run every test, with the race detector
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$unformatted" ] || { echo "gofmt would change: $$unformatted"; exit 1; }
	go vet ./...
	go test -race ./...

.PHONY: build
build: ## Build both programs into bin/
	CGO_ENABLED=0 go build -trimpath -o bin/ ./cmd/...

.PHONY: cluster
cluster: controlplane ## Keep a control plane running until Ctrl-C, and print its KUBECONFIG
	@go run ./test/cluster

.PHONY: controlplane
controlplane: ## Build etcd, kube-apiserver, kube-controller-manager and kubectl, unless they are there
	@test/controlplane/build.sh

.PHONY: update
update: controlplane ## Write the tests' expected files anew
	UPDATE=1 go test ./policies ./config ./lint ./report ./cmd/stsguard ./test/parity ./test/cli

.PHONY: bench
bench: ## Measure judging, reading and linting
	go test -run '^$$' -bench . -benchmem ./inventory/... ./policies ./lint

.PHONY: bench-admission
bench-admission: ## Measure admission against a webhook that always allows
	@go run ./test/bench

.PHONY: bench-lint
bench-lint: ## Measure lint against other programs, on made-up charts and those in DIR
	@go run ./test/bench/lint $(DIR)

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin
