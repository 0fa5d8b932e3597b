#!/usr/bin/env bash
# Builds every example against an installed package, shared and static, and runs it.
#
#   ffi/c/examples/run.sh PREFIX MODEL [RUNNER…]      RUNNER: qemu-aarch64-static -L /usr/aarch64-linux-gnu, for instance
#
# CC, CXX, LDFLAGS as usual; STATIC_ONLY=1 where there is no shared library (musl).
set -euo pipefail
prefix=$(realpath "$1") model=$(realpath "$2")
shift 2
runner=("$@")
cd "$(dirname "$0")"
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
cc=${CC:-gcc} cxx=${CXX:-g++}
warn='-O2 -Wall -Wextra -Wpedantic -Werror'
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig PKG_CONFIG_LIBDIR=$prefix/lib/pkgconfig
cflags=$(pkg-config --cflags pocketbert)
shared="$(pkg-config --libs pocketbert) -Wl,-rpath,$prefix/lib"
# What `pkg-config --static --libs` says, with the archive named so that the shared library is not taken.
static="$prefix/lib/libpocketbert.a $(pkg-config --static --libs pocketbert | sed 's/-lpocketbert//; s/-L[^ ]*//') -Wl,--gc-sections"
run() { ${runner[@]+"${runner[@]}"} "$@"; }
text='book a table for two in Paris'

kinds=(static)
[ -n "${STATIC_ONLY:-}" ] || kinds=(shared static)
answers=()
for kind in "${kinds[@]}"; do
    libs=${!kind}
    for example in classify batch cancel; do
        $cc -std=c99 $warn $cflags -o "$out/$example-$kind" $example.c $libs ${LDFLAGS:-}
    done
    $cc -std=c99 $warn $cflags -DMODEL="\"$model\"" -c -o "$out/flash-model.o" flash.S
    $cc -std=c99 $warn $cflags -o "$out/flash-$kind" flash.c "$out/flash-model.o" $libs ${LDFLAGS:-}
    if [ "$cxx" != none ]; then
        $cxx -std=c++17 $warn $cflags -o "$out/classify-cpp-$kind" classify.cpp $libs ${LDFLAGS:-}
        answers+=("$(run "$out/classify-cpp-$kind" "$model" "$text")")
    fi
    answers+=("$(run "$out/classify-$kind" "$model" "$text")" "$(run "$out/flash-$kind" "$text")")
    run "$out/batch-$kind" "$model"
    run "$out/cancel-$kind" "$model"
    # The stack of no program may be executable.
    for program in "$out"/*-$kind; do
        if readelf -lW "$program" | grep GNU_STACK | grep -q RWE; then echo "$program has an executable stack"; exit 1; fi
    done
done
# The same bits, however the library was linked, called and given its model.
[ "$(printf '%s\n' "${answers[@]}" | sort -u | wc -l)" = 1 ] || { printf '%s\n' "${answers[@]}"; exit 1; }
echo "${#answers[@]} programs answer ${answers[0]}"
[ -z "${EXPECT:-}" ] || [ "${answers[0]}" = "$EXPECT" ] || { echo "but ${EXPECT} is right"; exit 1; }
[ -z "${KEEP:-}" ] || cp "$out"/*-static "$out"/*-shared "$KEEP"/ 2>/dev/null || true
