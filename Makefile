SHELL := /bin/bash
.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: controlplane ## Show the main job on a real, throwaway control plane
	@go run ./test/demo

.PHONY: test
test: controlplane ## Run every test but those of make e2e, with the race detector
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$unformatted" ] || { echo "gofmt would change: $$unformatted"; exit 1; }
	go vet ./...
	go test -race $$(go list ./... | grep -v /test/e2e)

.PHONY: e2e
e2e: whole-cluster ## Hold every claim against a real cluster with nodes and DNS; K8S=1.34 for another version, UPDATE=1 to write its expected output anew
	go test -count=1 -timeout 30m ./test/e2e/...

# How long each is fuzzed.
FUZZTIME ?= 1m

.PHONY: fuzz
fuzz: ## Fuzz what reads admission requests and manifests, a minute each; FUZZTIME=1h for longer
	go test -run '^$$' -fuzz '^FuzzReadReview$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 1s ./webhook
	go test -run '^$$' -fuzz '^FuzzReview$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 1s ./webhook
	go test -run '^$$' -fuzz '^FuzzRead$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 1s ./inventory/manifest

.PHONY: build
build: ## Build both programs into bin/
	CGO_ENABLED=0 go build -trimpath -o bin/ ./cmd/...

.PHONY: image
image: ## Build the webhook's container image, called IMAGE, into bin/image and print its digest
	@go -C deploy/image run . -source ../.. -output ../../bin/image/stsguard-webhook.tar $(if $(IMAGE),-repository $(IMAGE))

.PHONY: cluster
cluster: whole-cluster ## Keep a cluster running until Ctrl-C, and print its KUBECONFIG
	@go run ./test/cluster

.PHONY: controlplane
controlplane: ## Build etcd, kube-apiserver, kube-controller-manager and kubectl, unless they are there
	@test/controlplane/build.sh

.PHONY: whole-cluster
whole-cluster: ## Build kube-scheduler, kwok, CoreDNS, Helm and cert-manager too
	@test/controlplane/build.sh nodes dns helm certificates

# The tests of these packages hold generated files against what they come from.
GENERATED := ./policies ./config ./lint ./report ./cmd/stsguard ./test/parity ./test/cli ./test/chart

.PHONY: update
update: controlplane ## Write what is generated anew, and the expected output of all tests but make e2e's
	UPDATE=1 go test -count=1 $(GENERATED)

.PHONY: verify
verify: controlplane ## Check that what is generated is what make update would write
	go test -count=1 $(GENERATED)

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
