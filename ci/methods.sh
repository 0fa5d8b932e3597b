#!/usr/bin/env bash
# What each way of quantizing brings: SST-2 dev and test by the engine, and the time of a run.
#
#   ci/methods.sh MODEL.onnx HEADS.json TOKENIZER.json SETS.json TEXTS.jsonl FOLDER [METHOD...]
#
# MODEL, HEADS, TOKENIZER and SETS as models/make.sh makes them; TEXTS are the calibration's. FOLDER keeps the
# calibration, the bundles and FP32's answers, so that a second run is short. Prints one line a method.
set -euo pipefail
model=$1 heads=$2 tokenizer=$3 sets=$4 texts=$5 folder=$6
shift 6
tool=${TOOL:-target/release/pocketbert-quantize}
mkdir -p "$folder"
[ -f "$folder/calibration" ] || "$tool" calibrate "$model" --texts "$texts" --samples 300 --out "$folder/calibration"
methods=(
    "--preset static"
    "--preset static --range mse"
    "--preset static --range percentile"
    "--activations per-token-symmetric"
    "--preset exact"
    "--preset exact --migrate 0.5"
    "--preset exact --rounding gptq"
    "--preset exact --rounding adaround"
    "--preset closest"
    "--preset closest --rounding adaround"
    "--preset closest --migrate 0.5"
    "--preset closest --rounding adaround --migrate 0.5"
)
[ $# -eq 0 ] || methods=("$@")
for method in "${methods[@]}"; do
    echo "== $method"
    # shellcheck disable=SC2086
    "$tool" quantize "$model" $method --calibration "$folder/calibration" --heads "$heads" --tokenizer "$tokenizer" \
        --name methods --model-version 1 --out "$folder/m.pbert" 2>/dev/null
    "$tool" validate --reference "$model" --model "$folder/m.pbert" --sets "$sets" --only sentiment \
        --cache "$folder/cache" 2>&1 | grep -E '^(sentiment|all)'
    # Beside itself and without a cache: two runs of the same texts.
    /usr/bin/time -f '%U s for 2 x 256 texts, %M KB' "$tool" validate --reference "$folder/m.pbert" \
        --model "$folder/m.pbert" --sets "$sets" --only sentiment --role dev --limit 256 2>&1 | grep ' s for '
done
