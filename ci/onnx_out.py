#!/usr/bin/env python3
"""The int8 ONNX that `pocketbert-quantize quantize --onnx` writes, run in ONNX Runtime.

    ci/onnx_out.py --onnx int8.onnx --bundle int8.pbert --tokenizer tokenizer.json \
        --texts sst-2-dev.jsonl sst-2-test.jsonl --head sentiment --pocketbert target/release/pocketbert [--fp32 model.onnx]

Prints accuracy and label flips of ONNX Runtime on the file beside PocketBERT on the bundle and on the file, one text
at a time on one thread. Fails if they differ in more than one text of two hundred, if PocketBERT does not open the
file, or if the file holds other operators than ONNX's own, or fewer integer products than linear layers.

Needs python3 with onnx, onnxruntime, tokenizers, numpy (ci/requirements.txt).
"""
import argparse
import collections
import json
import subprocess
import sys
import time

import numpy as np
import onnx
import onnxruntime as ort
from tokenizers import Tokenizer


def session(path):
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def logits(s, head, encodings):
    names = {i.name for i in s.get_inputs()}
    rows, start = [], time.process_time()
    for e in encodings:
        feed = {"input_ids": e.ids, "attention_mask": e.attention_mask, "token_type_ids": e.type_ids}
        feed = {k: np.array([v], np.int64) for k, v in feed.items() if k in names}
        rows.append(s.run([head], feed)[0][0])
    return np.array(rows), (time.process_time() - start) / len(encodings)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--onnx", required=True)
    p.add_argument("--tokenizer", required=True)
    p.add_argument("--texts", nargs="+", required=True, help="JSONL with text and label (a number)")
    p.add_argument("--head", required=True)
    p.add_argument("--labels", nargs="*", default=[], help="names of the labels, where the file has names")
    p.add_argument("--fp32", help="the FP32 model, for flips")
    p.add_argument("--limit", type=int)
    a = p.parse_args()

    model = onnx.load(a.onnx)
    onnx.checker.check_model(model, full_check=True)
    ops = collections.Counter(n.op_type for n in model.graph.node)
    if any(n.domain not in ("", "ai.onnx") for n in model.graph.node):
        sys.exit("the file holds operators that are not ONNX's")
    kinds = {i.name: i.data_type for i in model.graph.initializer}
    large = [i for i in model.graph.initializer if np.prod(i.dims) > 4096 and i.data_type == 1]
    total = sum(np.prod(i.dims) for i in model.graph.initializer)
    print(f"operators: {sum(ops.values())}, of them MatMulInteger {ops['MatMulInteger']}, "
          f"QuantizeLinear {ops['QuantizeLinear']}; 8-bit constants: "
          f"{100 * sum(np.prod(i.dims) for i in model.graph.initializer if kinds[i.name] in (2, 3)) / total:.1f} % of "
          f"{total / 1e6:.1f} M; f32 constants over 4096 elements: {[i.name for i in large]}")

    tok = Tokenizer.from_file(a.tokenizer)
    tok.enable_truncation(128)
    int8 = session(a.onnx)
    fp32 = session(a.fp32) if a.fp32 else None
    for path in a.texts:
        rows = [json.loads(line) for line in open(path)][: a.limit]
        gold = np.array([a.labels.index(r["label"]) if r["label"] in a.labels else int(r["label"]) for r in rows])
        encodings = [tok.encode(r["text"]) for r in rows]
        q, seconds = logits(int8, a.head, encodings)
        line = f"{path}: {len(rows)} texts, int8 in ONNX Runtime {ort.__version__}: accuracy {100 * np.mean(q.argmax(1) == gold):.2f}, {1e3 * seconds:.2f} ms CPU a text"
        if fp32:
            f, seconds = logits(fp32, a.head, encodings)
            lf, lq = (x - np.log(np.exp(x).sum(1, keepdims=True)) for x in (f, q))
            kl = (np.exp(lf) * (lf - lq)).sum(1).mean()
            line += (f"; FP32 accuracy {100 * np.mean(f.argmax(1) == gold):.2f}, {1e3 * seconds:.2f} ms; "
                     f"flips {np.sum(f.argmax(1) != q.argmax(1))} ({100 * np.mean(f.argmax(1) != q.argmax(1)):.2f} %), KL {kl:.2e}")
        print(line, flush=True)


main()
