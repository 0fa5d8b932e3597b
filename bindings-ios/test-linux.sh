#!/usr/bin/env bash
# Runs the Swift package's tests on Linux against the library of this machine.
#
#   bindings-ios/test-linux.sh [--example | --api | --write-api] [ARGUMENTS OF swift test]
#
# Uses `swift` where there is one, otherwise a Debian 13 root with Swift 6 (tools/swift-toolchain.sh), in the folder
# POCKETBERT_SWIFT_ROOT. POCKETBERT_ROUNDS=10000 opens and lets go that often.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
mode=test
case ${1:-} in
--example | --api | --write-api) mode=${1#--} && shift ;;
esac

cargo build -q --locked --release -p pocketbert-mobile --lib --manifest-path "$root/Cargo.toml"
libs=$target/swift-libs
mkdir -p "$libs" && cp "$target/release/libpocketbert_mobile.so" "$libs/"

# The committed sources must be those that this library's surface gives.
generated=$(mktemp -d)
trap 'rm -rf "$generated"' EXIT
"$root/ffi/mobile/generate.sh" swift "$generated/out" "$libs/libpocketbert_mobile.so"
for pair in PocketBERTMobile.swift:PocketBERTMobile PocketBERTMobileFFI.h:PocketBERTMobileFFI; do
    cmp "$generated/out/${pair%%:*}" "$here/Sources/${pair##*:}/${pair%%:*}" || {
        echo "the generated sources are old: run bindings-ios/generate.sh" >&2
        exit 1
    }
done

common=(--package-path "$here" --scratch-path "$target/swift" -Xlinker "-L$libs")
case $mode in
test) set -- test "${common[@]}" "$@" ;;
example)
    set -- run "${common[@]}" classify "$root/models/everyday.pbert" "What a wonderful film!" "I want my money back."
    ;;
*) set -- package "${common[@]}" dump-symbol-graph --minimum-access-level public ;;
esac

# After `package dump-symbol-graph`: api.txt is the public API, and a change of it is seen.
compare_api() {
    local graph
    graph=$(find "$target/swift" -name PocketBERT.symbols.json | head -1)
    case $mode in
    api) python3 "$here/tools/api.py" "$graph" | diff -u "$here/api.txt" - && echo "the public API is as in api.txt" ;;
    write-api) python3 "$here/tools/api.py" "$graph" >"$here/api.txt" ;;
    esac
}

if command -v swift >/dev/null; then
    LD_LIBRARY_PATH=$libs swift "$@"
    compare_api
    exit
fi
swift_root=${POCKETBERT_SWIFT_ROOT:-$target/swift-root}
"$here/tools/swift-toolchain.sh" "$swift_root" >/dev/null
# The repository and its build folder under their own names, so that paths mean the same inside.
unshare --mount bash -euo pipefail -c '
    swift_root=$1 root=$2 target=$3 libs=$4
    shift 4
    mount -t proc proc "$swift_root/proc"
    mount --bind /dev "$swift_root/dev"
    for folder in "$root" "$target"; do
        mkdir -p "$swift_root$folder"
        mount --bind "$folder" "$swift_root$folder"
    done
    exec chroot "$swift_root" /usr/bin/env LD_LIBRARY_PATH="$libs" HOME=/root LANG=C.UTF-8 \
        POCKETBERT_ROUNDS="${POCKETBERT_ROUNDS:-}" swift "$@"
' - "$swift_root" "$root" "$target" "$libs" "$@"
compare_api
