#!/usr/bin/env bash
# What is too long for CI. ci/full.sh ASSETS [STEP…]
# ASSETS: the folder with checkpoint/, data/ and tokenizers/. Steps: quality pipelines latency mixed published fuzz size arm cross ios android (default: all).
# Needs python3 with torch, transformers, onnx, onnxruntime, safetensors, tokenizers (models/README.md).
set -euo pipefail
cd "$(dirname "$0")/.."
assets=${1:?usage: ci/full.sh ASSETS [STEP...]}
shift
[ -d "$assets/checkpoint" ] || { echo "SKIPPED: no checkpoint at $assets"; exit 0; }
steps=("$@")
[ ${#steps[@]} -gt 0 ] || steps=(quality pipelines latency mixed published fuzz size arm cross ios android)
cargo build --release --workspace
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fp32() {
    [ -f "$work/model.onnx" ] || python3 models/everyday/export.py --checkpoint "$assets/checkpoint" \
        --tokenizer "$assets/tokenizers/bert-base-cased/tokenizer.json" --out "$work"
}
for step in "${steps[@]}"; do
    echo "=== $step"
    case $step in
    quality)
        fp32
        python3 ci/eval_heads.py --binary target/release/pocketbert --assets "$assets" --onnx "$work/model.onnx" \
            --models int8=models/everyday.pbert
        ;;
    pipelines)
        python3 ci/pipelines_classify.py --binary target/release/pocketbert --assets "$assets"
        python3 ci/pipelines_spans.py --binary target/release/pocketbert --assets "$assets"
        python3 ci/pipelines_windows.py --binary target/release/pocketbert --assets "$assets"
        fp32
        python3 ci/vectors.py --binary target/release/pocketbert --assets "$assets" --fp32 "$work" --bundle models/everyday.pbert
        ;;
    latency)
        fp32
        python3 ci/bench.py --fp32 "$work/model.onnx" --make "$work/peers"
        python3 ci/bench.py --dynamic "$work/peers/dynamic.onnx" --qdq "$work/peers/qdq_s8.onnx"
        ;;
    mixed) cargo run --release -q -p pocketbert-tests --bin mixed -- everyday ;;
    published) # downloads them; the forms made from the checkpoint are part of .ci/run
        python3 ci/forms/published.py --binary target/release/pocketbert --assets "$assets" --cache target/published
        ;;
    fuzz)
        targets=$(cd fuzz && cargo fuzz list) # on its own line: without cargo-fuzz this fails
        for target in $targets; do
            (cd fuzz && RUSTC_BOOTSTRAP=1 cargo fuzz run "$target" -- -max_total_time=600 -timeout=20 -rss_limit_mb=2048)
        done
        ci/fuzz_coverage.sh
        python3 ci/damage.py --binary target/release/pocketbert --bundle models/everyday.pbert
        ;;
    size)
        cargo build --profile ship -p pocketbert
        ls -l target/ship/pocketbert
        ffi/c/install.sh --prefix "$work/arm64" --target aarch64-unknown-linux-gnu
        python3 ci/sizes.py "$work"/arm64/lib/debug/*.debug --stripped "$work"/arm64/lib/libpocketbert.so.*.*.* --top 20
        ;;
    arm) # the default model, and on 32-bit ARM any whole model: too long under an emulator for CI
        for target in aarch64-unknown-linux-gnu armv7-unknown-linux-gnueabihf; do
            cpu=max tool=${target/-unknown/}
            [ "$target" = aarch64-unknown-linux-gnu ] || { cpu=cortex-a15 tool=arm-linux-gnueabihf; }
            arch=${target%%-*} name=$(echo "$target" | tr a-z- A-Z_)
            [ "$arch" = aarch64 ] || arch=arm
            export "CARGO_TARGET_${name}_LINKER=$tool-gcc" "CC_$(echo "$target" | tr - _)=$tool-gcc"
            export "CARGO_TARGET_${name}_RUNNER=qemu-$arch-static -L /usr/$tool -E LD_LIBRARY_PATH=/usr/$tool/lib -cpu $cpu"
            rustup target add "$target"
            cargo test --locked --profile cross --target "$target" -p pocketbert-tests --test golden -- \
                --include-ignored --nocapture
        done
        ;;
    cross) ci/cross.sh ;;
    ios) ci/ios.sh full ;;
    android) # every ABI in the profile that ships, the first time with BLESS=1 (no sizes yet); memory
        ci/aar.sh ship arm64-v8a armeabi-v7a x86_64
        POCKETBERT_ROUNDS=10000 bindings-android/build.sh
        ;;
    *) echo "no step $step"; exit 2 ;;
    esac
done
