#!/usr/bin/env bash
# Builds the library of this machine, writes the generated Kotlin, and runs Maven: build.sh [MAVEN ARGUMENTS]
# Default: `verify`, which compiles everything and runs the tests. `-Dpocketbert.long=true` runs the long ones.
set -euo pipefail
cd "$(dirname "$0")"
cargo build -q --locked --release -p pocketbert-mobile --lib --manifest-path ../Cargo.toml
target=${CARGO_TARGET_DIR:-$PWD/../target}
../ffi/mobile/generate.sh kotlin "$PWD/target/generated" "$target/release/libpocketbert_mobile.so"
if [ $# -eq 0 ]; then set -- verify; fi
mvn -q -B -Dnative.folder="$target/release" "$@"
