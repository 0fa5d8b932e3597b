#!/usr/bin/env python3
"""The reference of every validation is this engine's own FP32 path: is it FP32 as ONNX Runtime computes it?

    python3 ci/fp32_ort.py --onnx OUT/model.onnx --heads OUT/heads.json --sets OUT/data/sets.json --tokenizer OUT/tokenizer.json

Runs the first texts of every set through ONNX Runtime (basic optimizations, one thread) and through `pocketbert run`,
on the same token ids, and compares the raw outputs of the set's head. Exit status 1 if a value differs by more than
--tolerance (absolute, or relative where values are above 1) or a best answer differs whose margin in ONNX Runtime is
above it. Needs numpy, onnxruntime and tokenizers (versions: models/README.md).
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np


def rows(path, limit):
    """Token inputs: (text, pair) or a list of words."""
    out, words = [], []
    for line in open(path, encoding="utf8"):
        if path.endswith(".jsonl"):
            r = json.loads(line)
            out.append((r.get("text") or r.get("question"), r.get("pair") or r.get("context")))
        elif line.strip():
            words.append(line.split("\t")[0])
        elif words:
            out, words = out + [words], []
        if len(out) == limit:
            break
    return out


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("onnx", "heads", "sets", "tokenizer"):
        ap.add_argument(f"--{name}", required=True)
    ap.add_argument("--binary", default="target/release/pocketbert")
    ap.add_argument("--limit", type=int, default=32, help="texts of each set")
    ap.add_argument("--tolerance", type=float, default=1e-3)
    a = ap.parse_args()
    import onnxruntime as ort
    from tokenizers import Tokenizer
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    session = ort.InferenceSession(a.onnx, options, providers=["CPUExecutionProvider"])
    typed = any(i.name == "token_type_ids" for i in session.get_inputs())
    heads = json.load(open(a.heads))
    heads = heads["heads"] if isinstance(heads, dict) else heads
    output = {h["name"]: h["output"] for h in heads}
    tokenizer, failed = Tokenizer.from_file(a.tokenizer), False
    tokenizer.no_padding()
    print("| head | set | texts | largest difference | best answers that differ |\n|---|---|---|---|---|")
    for s in json.load(open(a.sets))["sets"]:
        if not s["head"]:
            continue
        tokenizer.enable_truncation(s["max_length"])
        path = os.path.join(os.path.dirname(a.sets), s["file"])
        encoded = [tokenizer.encode(r, is_pretokenized=True) if isinstance(r, list) else
                   tokenizer.encode(r[0]) if r[1] is None or s["head"] == "embed" else tokenizer.encode(*r)
                   # Of a vocabulary for every token two texts are enough to read back.
                   for r in rows(path, 2 if s["head"] == "fill_mask" else a.limit)]
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as f:
            for e in encoded:
                f.write(json.dumps({"ids": [e.ids], "types": [e.type_ids]}) + "\n")
            f.flush()
            p = subprocess.run([a.binary, "run", a.onnx, "--input", f.name, "--head", output[s["head"]]],
                               capture_output=True, text=True)
        if p.returncode:
            sys.exit(f"pocketbert run failed: {p.stderr}")
        worst, flips = 0.0, 0
        for e, line in zip(encoded, p.stdout.splitlines(), strict=True):
            x = np.array([e.ids], np.int64)
            feed = {"input_ids": x, "attention_mask": np.ones_like(x)}
            if typed:
                feed["token_type_ids"] = np.array([e.type_ids], np.int64)
            want = session.run([output[s["head"]]], feed)[0][0]
            got = json.loads(line)["outputs"][output[s["head"]]]
            got = np.array(got["data"], np.float32).reshape(got["shape"])[0]
            difference = np.abs(got - want) / np.maximum(1, np.abs(want))
            worst = max(worst, float(difference.max()))
            if s["head"] not in ("embed", "answer"):
                top = np.sort(want, axis=-1)
                sure = top[..., -1] - top[..., -2] > a.tolerance
                flips += int(((got.argmax(-1) != want.argmax(-1)) & sure).sum())
        failed |= worst > a.tolerance or flips > 0
        print(f"| {s['head']} | {s['name']} | {len(encoded)} | {worst:.1e} | {flips} |", flush=True)
    sys.exit("the engine's FP32 is not ONNX Runtime's" if failed else 0)


if __name__ == "__main__":
    main()
