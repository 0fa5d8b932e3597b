#!/usr/bin/env python3
"""ONNX Runtime's own dynamic int8 (per channel) beside its FP32, on the classification sets of sets.json.

    ci/ort_dynamic.py --onnx model.onnx --heads heads.json --tokenizer tokenizer.json --sets sets.json --out PREFIX

One text at a time on one thread, so that no padding or neighbour changes a range. Writes PREFIX.json in the form of
`validate --json` as far as ci/methods_table.py reads it, PREFIX.made (CPU seconds and KB of quantizing) and PREFIX.ran.
FP32 and int8 are both ONNX Runtime's. Needs numpy, onnx, onnxruntime and tokenizers (ci/requirements.txt).
"""
import argparse
import json
import os
import resource
import time

import numpy as np
import onnxruntime as ort
from onnxruntime.quantization import QuantType, quantize_dynamic
from tokenizers import Tokenizer


def session(path):
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("onnx", "heads", "tokenizer", "sets", "out"):
        p.add_argument(f"--{name}", required=True)
    p.add_argument("--only")
    p.add_argument("--role")
    p.add_argument("--limit", type=int, help="at most so many texts of each set")
    a = p.parse_args()
    start, file = time.process_time(), a.out + ".onnx"
    quantize_dynamic(a.onnx, file, per_channel=True, weight_type=QuantType.QInt8)
    with open(a.out + ".made", "w") as f:
        f.write(f"{time.process_time() - start:.1f} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}\n")
    fp32, int8 = session(a.onnx), session(file)
    names = {i.name for i in fp32.get_inputs()}
    heads = json.load(open(a.heads))
    heads = {h["name"]: h for h in (heads["heads"] if isinstance(heads, dict) else heads)}
    tok, found = Tokenizer.from_file(a.tokenizer), []
    tok.no_padding()

    def answers(s, output, encodings):
        rows = []
        for e in encodings:
            feed = {"input_ids": e.ids, "attention_mask": e.attention_mask, "token_type_ids": e.type_ids}
            rows.append(s.run([output], {k: np.array([v], np.int64) for k, v in feed.items() if k in names})[0][0])
        return np.array(rows, np.float64)

    for s in json.load(open(a.sets))["sets"]:
        head = heads.get(s["head"])
        if head is None or head["task"] not in ("text-classification", "zero-shot"):
            continue
        if (a.only and s["head"] not in a.only.split(",")) or (a.role and s["role"] != a.role):
            continue
        rows = [json.loads(l) for l in open(os.path.join(os.path.dirname(a.sets), s["file"]), encoding="utf8")]
        rows = [r for r in rows if "label" in r][: a.limit]
        if not rows:
            continue
        tok.enable_truncation(s["max_length"])
        encodings = [tok.encode(r["text"], r.get("pair")) if r.get("pair") else tok.encode(r["text"]) for r in rows]
        gold = np.array([head["labels"].index(r["label"]) for r in rows])
        f, q = answers(fp32, head["output"], encodings), answers(int8, head["output"], encodings)
        lf, lq = (x - np.logaddexp.reduce(x, 1, keepdims=True) for x in (f, q))
        right = [100 * float(np.mean(x.argmax(1) == gold)) for x in (f, q)]
        found.append({
            "head": s["head"], "name": s["name"], "slice": "", "role": s["role"], "texts": len(rows), "units": len(rows),
            "flips": int(np.sum(f.argmax(1) != q.argmax(1))), "kl_mean": float((np.exp(lf) * (lf - lq)).sum(1).mean()),
            "quality": {"measure": "accuracy", "reference": right[0], "model": right[1]}})
        print(found[-1], flush=True)
        if s["name"] == "SST-2 dev":
            seconds = []
            for _ in range(3):
                start = time.process_time()
                answers(int8, head["output"], encodings[:256])
                seconds.append(2 * (time.process_time() - start))
            with open(a.out + ".ran", "w") as f:
                f.write(f"{min(seconds):.3f}\n")
    with open(a.out + ".json", "w") as f:
        json.dump({"sets": found}, f)
    os.remove(file)


main()
