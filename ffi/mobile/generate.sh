#!/usr/bin/env bash
# Writes the sources that the bindings' facades call: generate.sh kotlin|swift OUT_FOLDER [LIBRARY]
# LIBRARY is a built libpocketbert_mobile.so (or .dylib) of this machine; without it one is built.
set -euo pipefail
language=$1 out=$2
root=$(cd "$(dirname "$0")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
library=${3:-}
if [ -z "$library" ]; then
    cargo build -q --locked --release -p pocketbert-mobile --lib --manifest-path "$root/Cargo.toml"
    library=$target/release/libpocketbert_mobile.so
    [ -f "$library" ] || library=${library%.so}.dylib
fi
rm -rf "$out" && mkdir -p "$out"
cargo run -q --locked --release --manifest-path "$root/Cargo.toml" -p pocketbert-mobile --features bindgen --bin uniffi-bindgen -- \
    generate "$library" --language "$language" --config "$root/ffi/mobile/uniffi.toml" --no-format --out-dir "$out"
