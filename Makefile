# Thin: every recipe is one line; what is longer is in tests/rig.
.DEFAULT_GOAL := help
.PHONY: help build image generate chart demo cluster test test-inner bench shell compatibility lint fmt deny clean cache-clean

help:        ## this list
	@grep -hE '^[a-z-]+: +##' $(MAKEFILE_LIST) | sed -E 's/: +## /\t/' | expand -t 16

build:       ## build every program
	@tests/rig/build

image:       ## both container images, as OCI archives in target/images (docs/images.md; needs root)
	@images/build $(ARGS)

demo:        ## checkpoint a real container and bring it back (first time: 15 to 20 minutes; needs root)
	@tests/rig/demo

test:        ## run every test, those on real nodes and clusters included (half an hour; needs root)
	@tests/rig/test $(ARGS)

test-inner:  ## run the tests that need no node and no root
	cargo test --workspace

bench:       ## measure our checkpoint against runc's, in a table, target/bench.json and docs/bench.svg (needs root)
	@tests/rig/bench $(ARGS)

shell:       ## a shell in a fresh node, with our command and a container to try it on
	@tests/rig/shell

cluster:     ## a Kubernetes cluster with our programs in it, until Ctrl-C (ARGS=2: two nodes; needs root)
	@tests/rig/cluster $(ARGS)

generate:    ## write what is generated and committed: the custom resource definitions, docs/reasons.md and docs/reference.md
	cargo run --quiet --package stillframe-crds -- docs crds/yaml charts/stillframe/files/crds

compatibility: ## write docs/compatibility.md from what the last whole `make test` has shown
	cargo run --quiet --package stillframe-tests --bin rig-matrix -- write "$${CARGO_TARGET_DIR:-target}/shown" docs/compatibility.md

chart:       ## check the chart, and write deploy/ from it (needs helm)
	helm lint --strict charts/stillframe
	@charts/render deploy

lint:        ## clippy, and the shell scripts with shellcheck if it is installed
	cargo clippy --workspace --all-targets -- -D warnings
	@tests/rig/lint

fmt:         ## format the code
	cargo fmt --all

deny:        ## check licences and advisories of the dependencies (builds cargo-deny if it is missing)
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	cargo deny check

clean:       ## remove what was built
	cargo clean

cache-clean: ## remove the cached node root and tools
	@tests/rig/cache-clean
