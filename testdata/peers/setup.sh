#!/usr/bin/env bash
# Makes everything that the tests with real peers need: Node 22 and the pinned npm packages in node_modules,
# Chromium with a Japanese font, indigo's relay and goat and an S3 server in .cache/bin, the tools for a network namespace. Needs Go, Node >= 20 with npm, and root only where a Debian package is missing.
# Does nothing when nothing changed. `setup.sh npm` or `setup.sh go` makes only that half.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

indigo=github.com/bluesky-social/indigo
relay_version=v0.0.0-20260605210604-af2fec94f34c
goat_version=v0.0.0-20251003000214-3259b215110e
versitygw_version=v1.8.0

say() { printf 'peers: %s\n' "$*" >&2; }

# thrice runs what needs the network, which may fail for a moment, up to three times.
thrice() { "$@" || "$@" || "$@"; }

# fail ends the set-up and says what is to be done.
fail() {
	say "$*"
	exit 1
}

# need COMMAND PACKAGE: installs the Debian package when the command is not there.
need() { command -v "$1" >/dev/null || debian "$2" "$1"; }

# debian PACKAGE WHAT: installs a Debian package, for what is missing.
debian() {
	say "installing $1"
	if [ -z "${apt_updated:-}" ]; then
		thrice apt-get update -qq || say 'not all of the Debian package lists could be fetched'
		apt_updated=1
	fi
	DEBIAN_FRONTEND=noninteractive thrice apt-get install -qq -y --no-install-recommends "$1" >/dev/null ||
		fail "$2 is missing, and the Debian package $1 cannot be installed: that takes root and the network. Install it, and begin again"
}

setup_npm() {
	local want have=''
	want=$(sha256sum package.json package-lock.json)
	[ -f node_modules/.peers ] && have=$(cat node_modules/.peers)
	[ "$want" = "$have" ] && return

	need node nodejs
	need npm npm
	need python3 python3
	need make make
	need g++ g++
	say 'installing npm packages'
	rm -f node_modules/.peers
	# No install scripts: the only one that matters, the compiling of SQLite, has to run under the Node of the packages.
	thrice npm ci --ignore-scripts --no-audit --no-fund --loglevel=error || fail 'cannot install the npm packages: is the npm registry within reach?'
	local node
	node=$(./node.sh --home)
	say 'compiling better-sqlite3'
	PATH="$node/bin:$PATH" npm_config_nodedir="$node" npm rebuild better-sqlite3 --build-from-source --loglevel=error >/dev/null
	./node.sh -e "new (require('better-sqlite3'))(':memory:').exec('select 1')"
	printf '%s\n' "$want" >node_modules/.peers
}

# install_go MODULE COMMAND VERSION: builds a command of a module into .cache/bin.
install_go() {
	local stamp=".cache/bin/$2.version"
	[ -x ".cache/bin/$2" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$3" ] && return
	need gcc gcc
	say "building $2"
	mkdir -p .cache/bin
	CGO_ENABLED=1 GOFLAGS='-trimpath' GOBIN="$PWD/.cache/bin" thrice go install "$1/cmd/$2@$3" ||
		fail "cannot build $2 $3: is the Go module proxy within reach?"
	printf '%s\n' "$3" >"$stamp"
}

# setup_browser: Debian's own, because the npm packages would fetch theirs; and letters for the Japanese pages, which have other widths without.
setup_browser() {
	need chromium chromium
	need fc-list fontconfig
	[ -n "$(fc-list :lang=ja)" ] || debian fonts-ipafont-gothic 'a Japanese font'
}

setup_go() {
	need ip iproute2
	need unshare util-linux
	install_go "$indigo" relay "$relay_version"
	install_go "$indigo" goat "$goat_version"
	install_go github.com/versity/versitygw versitygw "$versitygw_version"
}

case "${1:-all}" in
npm)
	setup_npm
	setup_browser
	;;
go) setup_go ;;
all)
	setup_npm
	setup_browser
	setup_go
	;;
*)
	say "usage: setup.sh [npm|go]"
	exit 2
	;;
esac
