#!/usr/bin/env bash
# The AAR: built, looked at, shrunk by R8, made an APK that is signed, and models opened inside of that.
# ci/aar.sh [PROFILE [ABI…]]: default `cross` for arm64-v8a alone, a quick check build. ci/full.sh builds all ABIs to be
# shipped. BLESS=1 writes bindings-android/sizes.toml anew. Installs what it lacks.
set -uo pipefail
cd "$(dirname "$0")/.."
profile=${1:-cross}
shift || true
abis=("$@")
[ ${#abis[@]} -gt 0 ] || abis=(arm64-v8a)
missing=()
for p in openjdk-17-jdk-headless:javap maven:mvn clang-19:clang-19 lld-19:ld.lld-19 llvm-19:llvm-strip-19 aapt:aapt2 apksigner:apksigner; do
    command -v "${p#*:}" >/dev/null || missing+=("${p%:*}")
done
if [ ${#missing[@]} -gt 0 ]; then
    { apt-get -o Acquire::Retries=5 update -qq && apt-get -o Acquire::Retries=5 install -y -qq --no-install-recommends "${missing[@]}" >/dev/null; } ||
        { echo "SKIPPED: ${missing[*]} cannot be installed"; exit 0; }
fi
for rust in aarch64-linux-android armv7-linux-androideabi x86_64-linux-android; do
    rustup target add $rust >/dev/null 2>&1 || { echo "SKIPPED: rustup has no standard library for $rust"; exit 0; }
done
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# Nothing that this repository does wrong reads so.
unreachable() { grep -q 'Could not transfer artifact' "$log" && { echo "SKIPPED: Maven's repository cannot be reached"; exit 0; }; }

arguments=()
for abi in "${abis[@]}"; do arguments+=(--abi "$abi"); done
bindings-android/build.sh aar --profile "$profile" "${arguments[@]}" 2>&1 | tee "$log"
[ "${PIPESTATUS[0]}" -eq 0 ] || { unreachable; exit 1; }
aar=$(ls bindings-android/target/aar/*.aar)
first=$(sha256sum <"$aar")
bindings-android/aar.py bindings-android/android/target/classes bindings-android/target/native bindings-android/target/aar >/dev/null
[ "$first" = "$(sha256sum <"$aar")" ] || { echo "the AAR has other bytes the second time"; exit 1; }
bindings-android/check/aar.py "${arguments[@]}" || exit 1
# Models inside those APKs, stored and compressed, at their real place.
bindings-android/build.sh -Dtest=AssetTest -Dsurefire.failIfNoSpecifiedTests=false \
    -Dpocketbert.apks="$PWD/bindings-android/target/apks" test 2>&1 | tee "$log"
[ "${PIPESTATUS[0]}" -eq 0 ] || { unreachable; exit 1; }
kind=$(cat bindings-android/target/native/kind)
for abi in "${abis[@]}"; do
    ci/ledger.py --ledger bindings-android/sizes.toml --profile "$kind-$profile" --target "$abi" ${BLESS:+--bless} \
        --file library=bindings-android/target/native/jni/"$abi"/libpocketbert_mobile.so || exit 1
done
