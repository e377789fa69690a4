# "make" alone lists the targets. Everything runs as root on Debian 12 with Go.

.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

# The same for everything that is built, so that nothing is compiled twice but what
# the race detector looks at; without DWARF, which no program keeps, a tenth faster.
# grpcnotrace leaves out a tracing page that would make the linker keep 20 MB of
# unused code in the speaker. A make within this one has the flags from it.
ifeq ($(findstring grpcnotrace,$(GOFLAGS)),)
export GOFLAGS := $(shell go env GOFLAGS) -trimpath -buildvcs=false -gcflags=all=-dwarf=false -tags=grpcnotrace
endif
export CGO_ENABLED := 0
RACE := -vet=off -race
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
# Without symbol table and DWARF; stack traces and profiles need neither. The
# version is stamped, and nothing else of the repository: equal sources of one
# version give equal programs.
LINK := -ldflags='-s -w -X github.com/steelyard-lb/steelyard/internal/version.stamped=$(VERSION)'
PACKAGES := bird2 conntrack curl frr iproute2 iptables iputils-arping ndisc6 nftables openssl tcpdump
# A browser for the controller's page, a DHCP server, promtool, and a kernel with VLANs.
TEST_PACKAGES := chromium-headless-shell dnsmasq-base prometheus $(if $(filter x86_64,$(shell uname -m)),user-mode-linux)
# What the image of Kubernetes' own tests has.
UPSTREAM_PACKAGES := netcat-openbsd wget
# What network plugins run.
PLUGIN_PACKAGES := ipset

.PHONY: help
help: ## list the targets
	@echo "Steelyard: a LoadBalancer for Kubernetes on bare metal"; echo
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'
	@echo; echo "New here? Run \"make demo\", as root. The first time it builds Kubernetes, which takes some minutes."

.PHONY: demo
demo: packages build ## start a rack and show how a Service gets its address, answers, and survives a cut cable
	@e2e/demo.sh

# Each Go module with code of ours.
MODULES := . charts config/images e2e tools

# Tests of racks and wires share two cores with much else, and are late now and then. One
# that fails runs once more at the end, with no other beside it, and what it said first
# stays in the report. More than 12 failures (a story makes four: it, and the tests around
# it) are no accident: then none runs again.
AGAIN := $$(go -C $(CURDIR)/tools tool -n gotestsum) --hide-summary skipped --rerun-fails=1 --rerun-fails-max-failures 12

# Its machine must be busy with nothing else.
ALONE := TestSessionsHoldUnderLoad
# They start no goroutines: the race detector would only slow down their many random cases.
PURE := ./internal/announce ./internal/announced ./internal/failover ./internal/health ./internal/intent ./internal/ipam ./internal/migrate ./internal/planner ./internal/rollout ./internal/simulation ./internal/world

# The stories mostly wait; what is left of the cores meanwhile is for the rest.
.PHONY: test
test: test-packages build ## run every test: unit, race, wire, the API's rules on a real API server, stories on racks
	CGO_ENABLED=1 go test $(RACE) -run $(ALONE) ./internal/bfd
	@$(MAKE) --no-print-directory --keep-going --jobs 2 stories rest

SEEDS ?= 100000
FIRST ?= 0

.PHONY: simulate
simulate: ## run SEEDS simulated histories from seed FIRST on, and tell of each that breaks a rule
	go test -vet=off -v -timeout 24h -run 'TestHistories$$|TestGrants' ./internal/simulation -seeds $(SEEDS) -grants $(SEEDS) -first $(FIRST)

.PHONY: stories
stories:
	bin/rack build traefik
	cd e2e && $(AGAIN) --format testname --packages . -- -vet=off -timeout 60m

.PHONY: rest
rest: lint
	go test -vet=off -timeout 20m $(PURE)
	CGO_ENABLED=1 $(AGAIN) --format pkgname --rerun-fails-abort-on-data-race --packages "$$(go list ./... | grep -vxFf <(go list $(PURE)) | tr '\n' ' ')" -- $(RACE) -skip $(ALONE) -timeout 20m
	cd e2e && CGO_ENABLED=1 go test $(RACE) -timeout 20m $$(go list ./... | grep -vxF $$(go list .))
	cd config/images && go test -timeout 10m ./...
	cd charts && go test -timeout 10m ./...

# Against another cluster: ARGS="-cluster KUBECONFIG -through 'nsenter --target PID --net'".
.PHONY: e2e-upstream
e2e-upstream: upstream-packages build ## run Kubernetes' own LoadBalancer tests, on a rack (12 min; builds them once, 4 min)
	cd e2e && go test -v -timeout 60m -run TestUpstream . -upstream $(ARGS)

# Those whose answers depend on the API server: the kinds and their rules, statuses, tokens, policies, kube-proxy.
KUBE ?= 1.31
OLDEST := 01|02|03|04|05|08|11|13|16|18|20|22|54|61|126

.PHONY: e2e-oldest
e2e-oldest: packages build ## run the core stories and the API's rules on a control plane of the oldest Kubernetes that is supported (4 min; builds it once, 6 to 9 min), or of KUBE=1.37
	cd e2e && go test -vet=off -v -timeout 40m -run 'TestStories/.*/.*/^($(OLDEST))_|TestAPI|TestEachRule' . -kubernetes $(KUBE) -racks o

.PHONY: e2e-plugins
e2e-plugins: packages build ## run the stories beside network plugins: kube-router, Flannel, Calico (3 min; builds them once, 13 min)
	@$(call install,$(PLUGIN_PACKAGES))
	for plugin in kube-router flannel calico-node; do bin/rack build $$plugin; done
	cd e2e && go test -vet=off -v -timeout 15m -run 'TestStories/.*/.*/^13[0-2]_' .

.PHONY: build
build: ## build all programs into bin/
	go build $(LINK) -o bin/ ./controller ./speaker ./cmd/kubectl-steelyard ./cmd/ipam-file ./cmd/ipam-dhcp
	go build -C e2e $(LINK) -o ../bin/ ./rack
	go build -C e2e $(LINK) -o ../bin/kind-rack ./kind

# The API server takes more for a time than programs can read ("2026-01-01t00:00:00z"), and one object
# that can't be read hides all of its kind from them.
TIME := ^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$$

CRDS := config/crd

.PHONY: times
times:
	sed -i -E '/format: date-time$$/{n;/pattern:/!s/^( *)/\1pattern: $(TIME)\n\1/}' $(CRDS)/*.yaml

.PHONY: generate
generate: build ## regenerate what is derived: deep copies, CRDs, manifests from the chart, docs/reference, the operator's alerts
	$$(go -C tools tool -n controller-gen) object crd paths=./api/... output:crd:dir=config/crd
	@$(MAKE) --no-print-directory times
	go -C tools run ./protogen ../api/ipam/v1 ipam.proto
	cd charts && go run ./generate
	go run ./docs/generate
	go test -p 1 -count 1 -run TestTheReference ./controller ./internal/status ./config/monitoring ./cmd/kubectl-steelyard -args -update

.PHONY: lint
lint: ## check formatting, vet and staticcheck
	@files=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$files" ]; then echo "not formatted (run gofmt -w): $$files"; exit 1; fi
	for module in $(MODULES); do (cd $$module && go vet ./... && $$(go -C $(CURDIR)/tools tool -n staticcheck) ./...) || exit 1; done
	$$(go -C tools tool -n actionlint) -shellcheck= -pyflakes=

# The version of govulncheck, and where the database is that it asks.
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
GOVULNDB ?= https://vuln.go.dev

.PHONY: vuln
vuln: ## look for known vulnerabilities that the code can reach, where their database can be reached
	@curl -fsS --max-time 20 -o /dev/null '$(GOVULNDB)/index/db.json' 2>/dev/null || { echo 'NOT RUN: make vuln: $(GOVULNDB) can not be reached'; exit 0; }; \
	  for module in $(MODULES); do echo "govulncheck in $$module"; (cd $$module && go run $(GOVULNCHECK) -db '$(GOVULNDB)' ./...) || exit 1; done

.PHONY: bench
bench: packages build ## measure on racks, each beside a floor: bursts, growth, restarts, deletions, outages, BFD (40 min; ARGS="-run burst" or "-services 2000" for less)
	go build -C e2e -o ../bin/bench ./bench && bin/bench $(ARGS)

.PHONY: site
site: ## make the website of the documents, dist/site
	go run ./docs/site

.PHONY: pictures
pictures: test-packages build ## draw the pictures of docs/pictures that show running programs, from a rack (1 min)
	go build -C e2e -o ../bin/pictures ./pictures && bin/pictures $(ARGS)

# Where images, plugin and release are written.
DIST ?= dist

# What images are made for (a release: RELEASE_ARCHES), their tag, and what they say
# of their sources. With PUSH=registry.example.org/net they are pushed there.
RELEASE_ARCHES = amd64 arm64 armv7 ppc64le s390x riscv64
ARCHES ?= $(shell go env GOARCH)
TAG ?= dev
REVISION ?= $(shell git rev-parse HEAD 2>/dev/null)
CREATED ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
comma := ,
space := $(subst ,, )

# Packs built programs into images; whose, its options say.
PACK = bin/pack-images -out '$(DIST)' -arches '$(subst $(space),$(comma),$(strip $(ARCHES)))' -tag '$(TAG)' -version '$(VERSION)' -revision '$(REVISION)' -created '$(CREATED)' -push '$(PUSH)'

.PHONY: images
images: ## pack controller, speaker and the IPAM adapters into container images, dist/*.tar, with bills of materials (no container engine needed)
	@for arch in $(ARCHES); do echo "build for $$arch"; \
	  GOOS=linux GOARCH=$${arch%v7} GOARM=7 go build $(LINK) -o bin/$$arch/ ./controller ./speaker ./cmd/ipam-file ./cmd/ipam-dhcp || exit 1; done
	go build -C config/images -o ../../bin/pack-images . && $(PACK)

# What the plugin is built for.
PLATFORMS = linux-amd64 linux-arm64 darwin-amd64 darwin-arm64 windows-amd64

.PHONY: plugin
plugin: ## pack the kubectl plugin for people, dist/kubectl-steelyard-*.tar.gz, with krew's manifest: TAG=v1.2.3
	@for p in $(PLATFORMS); do echo "build the plugin for $$p"; \
	  GOOS=$${p%-*} GOARCH=$${p#*-} go build $(LINK) -o bin/$$p/ ./cmd/kubectl-steelyard || exit 1; done
	go run ./config/plugin -out '$(DIST)' -platforms '$(subst $(space),$(comma),$(strip $(PLATFORMS)))' -tag '$(TAG)' -created '$(CREATED)'

RELEASE := $(patsubst v%,%,$(TAG))

.PHONY: notes
notes:
	@[ -n '$(PUSH)' ] || { echo 'say where the images go: PUSH=registry.example.org/net'; exit 1; }
	@mkdir -p '$(DIST)' && awk '/^## /{on = $$2 == "$(firstword $(subst -, ,$(RELEASE)))"} on' CHANGELOG.md > '$(DIST)/notes.md'
	@[ -s '$(DIST)/notes.md' ] || { echo 'CHANGELOG.md says nothing of $(RELEASE)'; exit 1; }

.PHONY: chart
chart: notes images
	go run -C charts ./release -out '$(abspath $(DIST))' -tag '$(TAG)' -created '$(CREATED)'

.PHONY: bundle
bundle: chart ## make the bundle for the Operator Lifecycle Manager, dist/bundle, and its images, with TAG, VERSION and PUSH as for a release
	@for arch in $(ARCHES); do echo "build the operator for $$arch"; \
	  GOOS=linux GOARCH=$${arch%v7} GOARM=7 go build -C config/operator -ldflags='-s -w' -o ../../bin/$$arch/operator github.com/operator-framework/helm-operator-plugins || exit 1; done
	rm -rf '$(DIST)/operator' && mkdir '$(DIST)/operator'
	cp config/operator/watches.yaml '$(DIST)/operator/' && cp '$(DIST)/steelyard-$(RELEASE).tgz' '$(DIST)/operator/steelyard.tgz'
	$(PACK) -append -programs operator -files '$(DIST)/operator'
	go run -C charts ./bundle -out '$(abspath $(DIST))' -arches '$(subst $(space),$(comma),$(strip $(ARCHES)))' -tag '$(TAG)' -created '$(CREATED)'
	$(PACK) -append -programs bundle -files '$(DIST)/bundle'
	tar --sort=name --mtime='@$(CREATED)' --owner=0 --group=0 --numeric-owner -C '$(DIST)' -czf '$(DIST)/steelyard-bundle.tar.gz' bundle

# What a release has, and publishes, but for the images and the chart in the registry.
RELEASED = *.tar *.tar.gz *.cdx.json *.tgz steelyard.yaml crds.yaml ipam-dhcp.yaml ipam-file.yaml images.txt krew.yaml

.PHONY: release
release: ARCHES = $(RELEASE_ARCHES)
release: plugin bundle ## make what a release has: TAG=v1.2.3 VERSION=v1.2.3 PUSH=registry.example.org/net
	cd '$(DIST)' && sha256sum $(RELEASED) > SHA256SUMS

# What the images of a kind cluster are built with.
KIND_PACKAGES := mmdebstrap libseccomp-dev

.PHONY: kind-images
kind-images: build ## build the images of a kind cluster from packages and Go modules, for where none can be pulled (15 min; later runs seconds)
	@$(call install,$(KIND_PACKAGES))
	bin/kind-rack images

.PHONY: kind-engine
kind-engine: packages build
	@docker info >/dev/null 2>&1 || { $(call install,docker.io $(KIND_PACKAGES)); }
	@bin/kind-rack check

.PHONY: e2e-kind
e2e-kind: kind-engine images ## stories on a kind cluster: real kubelets and containers (KEEP=1 keeps it; ARGS="--images built" pulls nothing)
	@[ -n '$(KEEP)' ] || trap 'bin/kind-rack down' EXIT; bin/kind-rack up $(ARGS); \
	  (cd e2e && go test -v -count 1 -timeout 20m ./kind -cluster); \
	  bin/kind-rack install; (cd e2e && go test -v -count 1 -timeout 50m -run TestKind . -kind)

.PHONY: packages
packages: ## install the Debian packages that racks need
	@$(call install,$(PACKAGES))

.PHONY: test-packages
test-packages: packages ## and those that only tests need: a browser, Prometheus
	@$(call install,$(TEST_PACKAGES))

.PHONY: upstream-packages
upstream-packages: packages ## and those that commands of Kubernetes' own tests need in a rack's Pods
	@$(call install,$(UPSTREAM_PACKAGES))

define install
	missing=; for p in $(1); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing+=" $$p"; done; \
	if [ -n "$$missing" ]; then \
	  [ "$$(id -u)" = 0 ] || { echo "missing packages; as root: apt-get install$$missing"; exit 1; }; \
	  echo "installing$$missing"; apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi
endef

.PHONY: clean
clean: ## remove bin/ and every rack
	@if [ -x bin/rack ]; then bin/rack down --all; fi
	rm -rf bin dist
