#!/usr/bin/env bash
# The native libraries of the AAR: native.sh OUT [--profile ship] [--abi ABI]…
#
# With the NDK (ANDROID_NDK_HOME) and cargo-ndk: libraries that ship. Without: clang and lld on a stand-in sysroot
# (check/sysroot.py), a check build that cannot run and must not ship. OUT afterwards:
#   kind             `ndk` or `check`
#   jni/ABI/         the library, stripped
#   symbols/ABI/     the same with its symbols
set -euo pipefail
out=$(mkdir -p "$1" && cd "$1" && pwd) profile=ship abis=()
shift
cd "$(dirname "$0")/.."
while [ $# -gt 0 ]; do
    case $1 in
    --profile) profile=$2 ;;
    --abi) abis+=("$2") ;;
    *) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2 ;;
    esac
    shift 2
done
[ ${#abis[@]} -gt 0 ] || abis=(arm64-v8a armeabi-v7a x86_64)
name=libpocketbert_mobile.so
target=${CARGO_TARGET_DIR:-$PWD/target}
# Nothing of this machine's folders in the library; the same bytes wherever it is built.
export RUSTFLAGS="--remap-path-prefix=$PWD=. --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo --remap-path-prefix=$(rustc --print sysroot)=rust -Clink-arg=-Wl,--build-id=sha1"
build=(--locked --profile "$profile" -p pocketbert-mobile --lib)
kind=check
if [ -n "${ANDROID_NDK_HOME:-}" ] && cargo ndk --version >/dev/null 2>&1; then
    kind=ndk
    strip=$(ls "$ANDROID_NDK_HOME"/toolchains/llvm/prebuilt/*/bin/llvm-strip | head -1)
else
    for tool in clang-19 ld.lld-19 llvm-ar-19 llvm-strip-19; do
        command -v $tool >/dev/null || { echo "neither the NDK with cargo-ndk nor $tool: install one (Debian: clang-19 lld-19 llvm-19)"; exit 1; }
    done
    echo "CHECK BUILD: no NDK here, so these libraries cannot run and must not ship"
    strip=llvm-strip-19
    bindings-android/check/sysroot.py "$target/android-sysroot"
fi
for abi in "${abis[@]}"; do
    case $abi in
    arm64-v8a) rust=aarch64-linux-android clang=aarch64-linux-android23 ;;
    armeabi-v7a) rust=armv7-linux-androideabi clang=armv7a-linux-androideabi23 ;;
    x86_64) rust=x86_64-linux-android clang=x86_64-linux-android23 ;;
    *) echo "no such ABI: $abi"; exit 2 ;;
    esac
    rustup target add "$rust" 2>/dev/null || true
    if [ $kind = ndk ]; then
        cargo ndk --target "$abi" --platform 23 build "${build[@]}"
    else
        upper=${rust//-/_}
        env "CARGO_TARGET_${upper^^}_LINKER=$target/android-sysroot/$rust/cc" "CC_$upper=clang-19" "AR_$upper=llvm-ar-19" \
            "CFLAGS_$upper=--target=$clang" cargo build "${build[@]}" --target "$rust"
    fi
    mkdir -p "$out/jni/$abi" "$out/symbols/$abi"
    # Modules of the standard library's and compilers' own notes are for nobody.
    cp "$target/$rust/$profile/$name" "$out/symbols/$abi/$name"
    "$strip" --strip-unneeded -o "$out/jni/$abi/$name" "$out/symbols/$abi/$name"
done
echo $kind >"$out/kind"
