#!/usr/bin/env bash
# What each way of quantizing brings, by the engine: quality, flips and divergence of every head; time and memory.
#
#   ci/methods.sh MODEL.onnx HEADS.json TOKENIZER.json SETS.json TEXTS.jsonl FOLDER [NAME=METHOD...]
#
# MODEL, HEADS, TOKENIZER and SETS as models/make.sh makes them; TEXTS are the calibration's. FOLDER keeps the
# calibration, FP32's answers and every method's result, so that a second run only does what is missing. HEADS_ONLY
# (names with commas) and ROLE (dev or test) narrow it; ORT=1 adds ONNX Runtime's dynamic int8, which takes minutes.
# Prints the tables of docs/quantization.md, "What each brings". Needs python3, and for ORT=1 what ci/ort_dynamic.py says.
set -euo pipefail
model=$1 heads=$2 tokenizer=$3 sets=$4 texts=$5 folder=$6
shift 6
tool=${TOOL:-target/release/pocketbert-quantize}
here=$(dirname "$0")
mkdir -p "$folder"
[ -f "$folder/calibration" ] ||
    /usr/bin/time -f 'calibrate: %U s CPU, %M KB' "$tool" calibrate "$model" --texts "$texts" --samples 300 --out "$folder/calibration"
methods=(
    "static, min-max=--preset static"
    "static, percentile 99.99=--preset static --range percentile"
    "per token, symmetric=--activations per-token-symmetric"
    "per token, zero point=--preset exact"
    "the same, migration 0.5=--preset exact --migrate 0.5"
    "the same, GPTQ=--preset exact --rounding gptq"
    "64 loud channels=--preset exact --loud 64"
    "64 loud, GPTQ (closest)=--preset closest"
    "64 loud, AdaRound=--preset closest --rounding adaround"
    "64 loud, GPTQ, migration 0.5=--preset closest --migrate 0.5"
    "64 loud, GPTQ, outliers=--preset closest --outliers true"
)
[ $# -eq 0 ] || methods=("$@")
narrow=(${HEADS_ONLY:+--only "$HEADS_ONLY"} ${ROLE:+--role "$ROLE"})
files=()
for entry in "${methods[@]}"; do
    name=${entry%%=*} method=${entry#*=}
    file=$folder/$(printf %s "$name" | tr -c 'A-Za-z0-9' _)
    files+=("$name=$file")
    [ -f "$file.json" ] && continue
    echo "== $name: $method" >&2
    # shellcheck disable=SC2086
    /usr/bin/time -f '%U %M' -o "$file.made" "$tool" quantize "$model" $method --calibration "$folder/calibration" \
        --heads "$heads" --tokenizer "$tokenizer" --name methods --model-version 1 --out "$folder/m.pbert" 2>/dev/null
    # Beside itself, without a cache and on one thread: two runs of the same texts. The best of three counts.
    for _ in 1 2 3; do
        /usr/bin/time -f '%U' "$tool" validate --reference "$folder/m.pbert" --model "$folder/m.pbert" --sets "$sets" \
            --only sentiment --role dev --limit 256 --layers 0 2>&1 >/dev/null | tail -1
    done | sort -n | head -1 >"$file.ran"
    "$tool" validate --reference "$model" --model "$folder/m.pbert" --sets "$sets" --layers 0 --threads 2 \
        "${narrow[@]}" --cache "$folder/cache" --json "$file.json" >&2
done
rm -f "$folder/m.pbert" "$folder/m.recipe.toml"
if [ "${ORT:-}" = 1 ]; then
    file=$folder/onnxruntime
    [ -f "$file.json" ] || python3 "$here/ort_dynamic.py" --onnx "$model" --heads "$heads" --tokenizer "$tokenizer" \
        --sets "$sets" --out "$file" ${HEADS_ONLY:+--only "$HEADS_ONLY"} ${ROLE:+--role "$ROLE"} >&2
    files+=("ONNX Runtime, dynamic, per channel=$file")
fi
python3 "$here/methods_table.py" "${files[@]}"
