#!/usr/bin/env bash
# Writes again what uniffi generates: internal/src/main/generated. Needed when the exports of ffi/mobile change; a stale
# one is found at run time, by the checksums that it compares with the library's.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
"$here/../ffi/mobile/generate.sh" kotlin "$here/internal/src/main/generated" "$@"
