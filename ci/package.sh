#!/usr/bin/env bash
# The C package as a user sees it: ci/package.sh [PREFIX [PROFILE]]
# Installs it into a folder that is then moved, compares its symbols and sizes with the committed ones, builds and runs
# the examples, a CMake project from scratch, and looks for the network. BLESS=1 writes the committed lists anew.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${2:-release}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=${1:-}
if [ -z "$prefix" ]; then
    ffi/c/install.sh --prefix "$work/first" --profile "$profile"
    # What names the folder it was installed to would break now.
    mv "$work/first" "$work/prefix"
    prefix=$work/prefix
fi
library=$(ls "$prefix"/lib/libpocketbert.so.*.*.*)

echo "--- symbols"
nm -D --defined-only "$library" | awk '{ print $3 }' | sed 's/@.*//' | sort >"$work/shared"
nm -g --defined-only "$prefix/lib/libpocketbert.a" 2>/dev/null | awk 'NF == 3 { print $3 }' | sort >"$work/static"
[ -z "${BLESS:-}" ] || cp "$work/shared" ffi/c/symbols.txt
diff -u ffi/c/symbols.txt "$work/shared" && diff -u ffi/c/symbols.txt "$work/static"
if grep -v '^pocketbert_' "$work/shared"; then echo "exported, but not of PocketBERT"; exit 1; fi
# A function that the header promises is there.
grep -o '\bpocketbert_[a-z0-9_]*(' ffi/c/include/pocketbert.h | tr -d '(' | sort -u | comm -12 - "$work/shared" >"$work/promised"
diff -u "$work/promised" "$work/shared" || { echo "exported, but not in the header"; exit 1; }
readelf -dW "$library" | grep -q 'SONAME.*\[libpocketbert\.so\.[0-9]*\]' || { echo "no SONAME"; exit 1; }
readelf -lW "$library" | grep GNU_STACK | grep -qv RWE || { echo "the stack would be executable"; exit 1; }
readelf -dW "$library" | grep -q TEXTREL && { echo "text relocations"; exit 1; }
echo "$(wc -l <"$work/shared") functions, shared and static; $(readelf -dW "$library" | grep -o 'SONAME.*')"

echo "--- examples"
mkdir "$work/programs"
KEEP=$work/programs ffi/c/examples/run.sh "$prefix" models/tiny.pbert

echo "--- CMake"
cmake -S ffi/c/examples/consumer -B "$work/build" -DCMAKE_PREFIX_PATH="$prefix" >/dev/null && cmake --build "$work/build" >/dev/null
for program in consumer consumer-static; do "$work/build/$program" models/tiny.pbert "play some jazz"; done
# A version that it is not is refused.
sed 's/pocketbert 0.1/pocketbert 9.9/' ffi/c/examples/consumer/CMakeLists.txt >"$work/CMakeLists.txt"
if cmake -S "$work" -B "$work/refused" -DCMAKE_PREFIX_PATH="$prefix" >/dev/null 2>&1; then echo "version 9.9 was found"; exit 1; fi

echo "--- no network"
ci/offline.sh "$work/programs/classify-shared" models/tiny.pbert "play some jazz"
ci/offline.sh "$work/programs/classify-static" models/tiny.pbert "play some jazz"
ci/offline.sh --symbols "$library"

echo "--- size"
ci/ledger.py "$prefix" --profile "$profile" ${BLESS:+--bless}
