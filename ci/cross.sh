#!/usr/bin/env bash
# The C package for other machines: ci/cross.sh [--profile cross] [TARGET…]
# Each is built to be shipped, linked against glibc 2.28 with zig, looked at, and run under qemu: every example, with the
# bits that this machine gives. BLESS=1 writes ffi/c/sizes.toml anew. With the Cargo profile `cross` it is built quickly
# and not optimised, and sizes are not looked at. Needs Debian's cross compilers, qemu-user-static,
# rustup and zig (pip install ziglang).
set -euo pipefail
cd "$(dirname "$0")/.."
glibc=2.28 profile=ship
if [ "${1:-}" = --profile ]; then profile=$2; shift 2; fi
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(aarch64-unknown-linux-gnu armv7-unknown-linux-gnueabihf riscv64gc-unknown-linux-gnu x86_64-unknown-linux-musl)
ZIG=${ZIG:-$(command -v zig || command -v python-zig)} && [ -n "$ZIG" ] || { echo "zig is missing: pip install ziglang"; exit 1; }
export ZIG
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
text='book a table for two in Paris'

# What is right: this machine's answer, by the command.
host=$(rustc -vV | sed -n 's/^host: //p')
ffi/c/install.sh --prefix "$work/host" --profile release
gcc -std=c99 -I"$work/host/include" -o "$work/host/classify" ffi/c/examples/classify.c "$work/host/lib/libpocketbert.a" \
    -lgcc_s -lpthread -ldl -lm -lc
expect=$("$work/host/classify" models/tiny.pbert "$text")
echo "$host: $expect"

for target in "${targets[@]}"; do
    echo "=== $target"
    rustup target add "$target" 2>/dev/null
    prefix=$work/$target
    static_only='' runner=() flags=''
    case $target in
    aarch64-*) gcc=aarch64-linux-gnu-gcc runner=(qemu-aarch64-static -cpu max) root=/usr/aarch64-linux-gnu ;;
    armv7-*) gcc=arm-linux-gnueabihf-gcc runner=(qemu-arm-static -cpu cortex-a7) root=/usr/arm-linux-gnueabihf ;;
    riscv64gc-*) gcc=riscv64-linux-gnu-gcc runner=(qemu-riscv64-static) root=/usr/riscv64-linux-gnu ;;
    *-musl) gcc="$ZIG cc -target ${target%%-*}-linux-musl" static_only=1 flags='-static' root='' ;;
    *) echo "no compiler is known for $target"; exit 1 ;;
    esac
    [ -z "$root" ] || runner+=(-L "$root" -E "LD_LIBRARY_PATH=$root/lib:$prefix/lib")
    if [ -n "$static_only" ]; then
        ffi/c/install.sh --prefix "$prefix" --profile "$profile" --target "$target"
    else
        ffi/c/install.sh --prefix "$prefix" --profile "$profile" --target "$target" --glibc $glibc
        library=$(ls "$prefix"/lib/libpocketbert.so.*.*.*)
        newest=$(readelf -VW "$library" | grep -o 'GLIBC_[0-9][0-9.]*' | sort -uV | tail -1)
        echo "oldest glibc: ${newest#GLIBC_}"
        [ "$(printf '%s\n' "${newest#GLIBC_}" $glibc | sort -V | tail -1)" = $glibc ] || { echo "newer than $glibc"; exit 1; }
        readelf -dW "$library" | grep -E 'NEEDED|SONAME' | sed 's/.*(\(.*\)).*\[\(.*\)\]/\1 \2/'
        readelf -lW "$library" | grep GNU_STACK | grep -qv RWE || { echo "the stack would be executable"; exit 1; }
        diff -u ffi/c/symbols.txt <(nm -D --defined-only "$library" | awk '{ print $3 }' | sed 's/@.*//' | sort)
    fi
    CC=$gcc CXX=none LDFLAGS=$flags STATIC_ONLY=$static_only EXPECT=$expect \
        ffi/c/examples/run.sh "$prefix" models/tiny.pbert ${runner[@]+"${runner[@]}"}
    [ "$profile" = cross ] || ci/ledger.py "$prefix" --profile "$profile" --target "$target" ${BLESS:+--bless}
done
