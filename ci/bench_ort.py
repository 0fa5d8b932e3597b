#!/usr/bin/env python3
"""Latency beside ONNX Runtime, in one interleaved run.

    python bench_ort.py --binary target/release/pocketbert --model models/everyday.pbert --onnx INT8_DYNAMIC.onnx

Both engines stay resident, one thread each, and are asked in turn, so that drift of the machine hits both. The ids are
random. Prints Markdown: median CPU ms, spread (p5 to p95), and the median of the ratios round by round.
Needs numpy, onnxruntime 1.31.1.
"""
import argparse
import json
import statistics
import subprocess
import time

import numpy as np
import onnxruntime as ort


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("binary", "model", "onnx"):
        ap.add_argument(f"--{name}", required=True)
    ap.add_argument("--shapes", default="1x16,1x64,1x128")
    ap.add_argument("--rounds", type=int, default=40)
    ap.add_argument("--repeats", type=int, default=3)
    a = ap.parse_args()
    so = ort.SessionOptions()
    so.intra_op_num_threads = 1
    sess = ort.InferenceSession(a.onnx, so, providers=["CPUExecutionProvider"])
    ours = subprocess.Popen([a.binary, "bench", a.model, "--interactive"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    load = json.loads(ours.stdout.readline())

    def ask_ours(shape):
        ours.stdin.write(f"{shape} {a.repeats}\n")
        ours.stdin.flush()
        return statistics.median(json.loads(ours.stdout.readline())["cpu_ms"])

    def ask_ort(shape):
        b, s = map(int, shape.split("x"))
        ids = np.random.default_rng(0).integers(1000, 28000, (b, s))
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        times = []
        for _ in range(a.repeats):
            c = time.process_time()
            sess.run(None, feeds)
            times.append((time.process_time() - c) * 1e3)
        return statistics.median(times)

    cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "?")
    flags = next((l for l in open("/proc/cpuinfo") if l.startswith("flags")), "")
    print(f"CPU: {cpu}" + "".join(f", {f}" for f in ("avx512_vnni", "avx_vnni", "amx_int8") if f" {f}" in flags))
    print("load:", json.dumps(load))
    print("\n| tokens | PocketBERT CPU ms | ONNX Runtime int8 dynamic CPU ms | ONNX Runtime / PocketBERT |\n|---|---|---|---|")
    for shape in a.shapes.split(","):
        ask_ours(shape), ask_ort(shape)
        rows = [(ask_ours(shape), ask_ort(shape)) for _ in range(a.rounds)]
        q = lambda v, p: sorted(v)[int(p * (len(v) - 1))]
        cell = lambda v: f"{statistics.median(v):.2f} ({q(v, 0.05):.2f} to {q(v, 0.95):.2f})"
        x, y = [r[0] for r in rows], [r[1] for r in rows]
        print(f"| {shape} | {cell(x)} | {cell(y)} | {statistics.median(b / a for a, b in rows):.2f} |", flush=True)
    ours.stdin.close()


if __name__ == "__main__":
    main()
