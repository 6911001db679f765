# The commands of this project. Each installs what is missing first, and says what it is doing.
# The work is in tools/*.sh and `cargo xtask`; long output is in target/logs.

SHELL := /bin/bash
LAB := target/debug/lab
# For lab-up: LAB_ARGS="--nodes 3 --chart-values my-values.yaml"
LAB_ARGS ?= --nodes 2 --ipv6
BENCH ?= pod-path

.PHONY: help demo test ui ui-test e2e conformance bench lab-up lab-down check tools binaries

help: ## This list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

demo: tools binaries ## A cluster, our chart, pods on two nodes, policies and flows, shown step by step
	@tools/demo.sh

test: tools binaries ## All test layers, with counts
	@tools/test.sh

ui: ## The page of hubble-ui: installs node and npm if need be, makes target/ui
	@tools/ui.sh

ui-test: ui ## The page in Chromium, against made-up flows: screenshots in target/ui-test/screens
	@tools/test.sh ui

e2e: tools binaries ## Kubernetes' own tests: FOCUS='\[sig-network\].*intra-pod' SKIP=..., both regular expressions
	@tools/test-e2e.sh '$(FOCUS)' '$(SKIP)'

conformance: tools binaries ## The network-policy-api's own tests of ClusterNetworkPolicy: TESTS='CNPAdmin.*' or all
	@tools/test-conformance.sh $(if $(TESTS),'$(TESTS)')

bench: tools binaries ## Measure: BENCH=pod-path, services (beside kube-proxy), policy or flows writes target/bench/NAME.json
	@cargo xtask bench $(BENCH)

lab-up: tools binaries ## A cluster to play with: then target/debug/lab kubectl ..., exec n1 ..., status
	@$(LAB) up $(LAB_ARGS)

lab-down: ## Remove it, also after a crash
	@tools/lab down

check: ## Format, lints as errors, docs, layers, licences and advisories
	@tools/check.sh

tools: ## Install what building and the lab need
	@tools/setup.sh

binaries: ## The kernel programs and the static release binaries
	@tools/binaries.sh
