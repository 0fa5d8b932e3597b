#!/usr/bin/env bash
# Builds and tests the Kotlin API.
#
#   build.sh [MAVEN ARGUMENTS]          for this machine's JVM. Default: `verify`, which compiles everything, runs the tests,
#                                       and compares the API with api.txt (`API=write` replaces it)
#   build.sh aar [ARGUMENTS OF native.sh]   the AAR, in target/aar. With ANDROID_NDK_HOME and cargo-ndk one that ships, else
#                                       a check build. A whole AAR takes all ABIs: the default
#
# POCKETBERT_ROUNDS=10000 makes the test of memory a long one.
set -euo pipefail
cd "$(dirname "$0")"
target=${CARGO_TARGET_DIR:-$PWD/../target}
maven=(mvn -q -B -Dnative.folder="$target/release")

# The API of CLASSES as compared with what is committed in FILE.
compare() {
    if [ "${API:-}" = write ]; then cp "$1" "$2"; fi
    diff -u "$2" "$1" || { echo "the API changed: API=write bindings-android/build.sh, and say so in CHANGELOG.md"; exit 1; }
}

if [ "${1:-}" = aar ]; then
    shift
    rm -rf target/native
    ./native.sh target/native "$@"
    "${maven[@]}" -P android -pl android,apk compile
    sources=(pocketbert/src/main/kotlin pocketbert/src/android/kotlin)
    python3 api.py android/target/classes "${sources[@]}" >target/api-android-all.txt
    # What Android has and other JVMs have not, and the other way round.
    { diff api.txt target/api-android-all.txt || true; } | sed -n 's/^[<>] /&/p' >target/api-android.txt
    compare target/api-android.txt api-android.txt
    ./aar.py android/target/classes target/native target/aar
    exit
fi

cargo build -q --locked --release -p pocketbert-mobile --lib --example faults --manifest-path ../Cargo.toml
if [ $# -gt 0 ]; then exec "${maven[@]}" "$@"; fi
"${maven[@]}" verify
mkdir -p target
python3 api.py pocketbert/target/classes pocketbert/src/main/kotlin pocketbert/src/jvm/kotlin >target/api.txt
compare target/api.txt api.txt
