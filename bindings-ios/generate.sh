#!/usr/bin/env bash
# Writes again what uniffi generates: Sources/PocketBERTMobile and the header in Sources/PocketBERTMobileFFI.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
"$here/../ffi/mobile/generate.sh" swift "$out/swift" "$@"
cp "$out/swift/PocketBERTMobile.swift" "$here/Sources/PocketBERTMobile/"
cp "$out/swift/PocketBERTMobileFFI.h" "$here/Sources/PocketBERTMobileFFI/"
