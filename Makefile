# SPDX-License-Identifier: Apache-2.0
# The verbs. `make` alone lists them.
SHELL := /bin/bash
NODE := node_modules/node/bin/node
.DEFAULT_GOAL := help

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \x1b[1mmake \1\x1b[0m|\2/p' Makefile | column -t -s '|'

.PHONY: setup
setup: ## install what this machine lacks, build the kernel side
	@scripts/setup.sh build

.PHONY: demo
demo: ## real programs that run deep, profiled: what others cut and what Plumbline gets
	@scripts/setup.sh demo
	@$(NODE) demo/demo.ts

.PHONY: test
test: ## everything: checks, units, kernel, truth, cluster
	@scripts/setup.sh test
	@$(NODE) scripts/test.ts

.PHONY: test-kernels
test-kernels: ## the truth suite on Debian's kernels 5.10 to 7.2, in qemu
	@scripts/setup.sh test
	@$(NODE) scripts/test.ts kernels

.PHONY: check
check: ## format, lint, types, generated files, import rules
	@scripts/setup.sh build
	@$(NODE) scripts/check.ts

.PHONY: fix
fix: ## format, and generate what is generated
	@scripts/setup.sh build
	@$(NODE) scripts/check.ts --fix

.PHONY: bundle
bundle: ## the agent and the operator as single files, in dist/
	@scripts/setup.sh build
	@$(NODE) scripts/bundle.ts

.PHONY: bench
bench: ## the figures of docs/performance.md
	@scripts/setup.sh test cluster
	@$(NODE) bench/bench.ts

.PHONY: bench-peer
bench-peer: ## the OpenTelemetry eBPF profiler and Plumbline, alternating in one run
	@scripts/setup.sh test
	@$(NODE) bench/peer.ts

.PHONY: cluster
cluster: ## a Kubernetes cluster on this machine, with Plumbline installed
	@scripts/setup.sh build cluster
	@$(NODE) e2e/cluster/up.ts

.PHONY: cluster-down
cluster-down: ## remove every trace of it
	@$(NODE) e2e/cluster/down.ts
