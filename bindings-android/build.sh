#!/usr/bin/env bash
# Builds the library of this machine and runs Maven: build.sh [MAVEN ARGUMENTS]
# Default: `verify`, which compiles everything, runs the tests, and compares the API with api.txt (`API=write` replaces it).
# POCKETBERT_ROUNDS=10000 makes the test of memory a long one.
set -euo pipefail
cd "$(dirname "$0")"
cargo build -q --locked --release -p pocketbert-mobile --lib --manifest-path ../Cargo.toml
maven=(mvn -q -B -Dnative.folder="${CARGO_TARGET_DIR:-$PWD/../target}/release")
if [ $# -gt 0 ]; then exec "${maven[@]}" "$@"; fi
"${maven[@]}" verify
mkdir -p target
python3 api.py pocketbert/target/classes pocketbert/src/main/kotlin pocketbert/src/jvm/kotlin >target/api.txt
if [ "${API:-}" = write ]; then cp target/api.txt api.txt; fi
diff -u api.txt target/api.txt || { echo "the API changed: API=write $0, and say so in CHANGELOG.md"; exit 1; }
