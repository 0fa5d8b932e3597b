#!/usr/bin/env bash
# Makes models/everyday.pbert and models/tiny.pbert again.
#
#   models/make.sh tiny                              from models/tiny/model.safetensors
#   models/make.sh everyday CHECKPOINT TOKENIZER DATA
#                                                    from the reference checkpoint and the public data sets (neither is
#                                                    in this repository)
#
# Needs python3 with torch, transformers, safetensors, onnx and onnxscript (versions: models/README.md).
set -euo pipefail
cd "$(dirname "$0")"
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
tool() { cargo run --release -q -p pocketbert-quantize -- "$@"; }
quantize() { tool quantize "$@"; }
case ${1:-} in
tiny)
    python3 tiny/export.py --out "$out/model.onnx"
    quantize "$out/model.onnx" --heads tiny/heads.json --tokenizer tiny/tokenizer.json \
        --name tiny --model-version 1.0.0 --license Apache-2.0 --default-head intent \
        --description "A two-layer DistilBERT for tests: SNIPS intents and slots, SMS spam" \
        --parent-sha256 "$(sha256sum tiny/model.safetensors | cut -d' ' -f1)" \
        --self-test self-test.jsonl --out tiny.pbert
    ;;
everyday)
    python3 everyday/export.py --checkpoint "$2" --tokenizer "$3" --out "$out"
    python3 everyday/data.py --data "$4" --tokenizer "$3" --out "$out/data"
    tool calibrate "$out/model.onnx" --texts "$out/data/calibration.jsonl" --samples 300 --out "$out/calibration"
    quantize "$out/model.onnx" --preset closest --calibration "$out/calibration" --heads "$out/heads.json" --tokenizer "$out/tokenizer.json" \
        --name everyday --model-version 1.0.0 --license Apache-2.0 --default-head sentiment \
        --description "DistilBERT-cased with ten heads: sentiment, intent, spam, moderation, entities, slots, answer, embed, fill_mask, entail" \
        --parent-sha256 "$(sha256sum "$2/model.safetensors" | cut -d' ' -f1)" \
        --self-test self-test.jsonl --out everyday.pbert
    tool fit everyday.pbert --sets "$out/data/sets.json" --baseline \
        --threshold moderation:hate_speech --threshold moderation:offensive_language --threshold spam:spam \
        --out everyday.pbert
    # FP32 takes about twenty minutes of CPU time; a gate that fails stops here, without the result in the bundle.
    tool validate --reference "$out/model.onnx" --model everyday.pbert --sets "$out/data/sets.json" --threads 2 \
        --slices all --slice-limit 256 --identity moderation:neither --gates everyday/gates.txt \
        --json "$out/validation.json" --html "$out/validation.html" --store everyday.pbert
    ;;
*)
    sed -n '2,9s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
