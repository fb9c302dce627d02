# The front door is `make run` and `make test`; `make help` lists the rest.
GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS = -s -w -X perch/pds.Version=$(VERSION)
export CGO_ENABLED = 0

.PHONY: help run build test check unit peers bench fuzz lexicons

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

run: build ## start a complete local network: PLC directory, PDS on http://localhost:2583, two accounts
	@./perch dev

build: ## build ./perch, one static binary
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o perch ./cmd/perch

test: unit peers ## everything: unit tests, then real clients, a relay, crashes and hostile input (installs what it needs)

unit: ## the Go tests of the packages
	$(GO) vet ./...
	@test -z "$$(gofmt -l cmd pds repo identity xrpc lexicons)" || { gofmt -l cmd pds repo identity xrpc lexicons; echo 'run gofmt'; exit 1; }
	$(GO) test -timeout 20m ./...

peers: build ## the tests with software of others, see testdata/peers/README.md
	testdata/peers/setup.sh
	cd testdata/peers && PERCH_BIN=$(CURDIR)/perch $(GO) test -count=1 -p 1 -timeout 25m ./...

check: ## what CI runs
	bash .ci/run

bench: build ## measure beside the reference PDS in one run, as ratios
	testdata/peers/setup.sh
	cd testdata/peers && $(GO) run ./bench -perch $(CURDIR)/perch

fuzz: ## fuzz every decoder of outside bytes for FUZZTIME each
	testdata/fuzz.sh $(or $(FUZZTIME),30s)

lexicons: ## refresh the embedded lexicons from their pinned sources (needs Node)
	$(GO) generate ./lexicons
