#!/usr/bin/env python3
"""Counts equal integer steps of static models at successive points of the graph.

Usage: per_operator.py --binary POCKETBERT --assets ASSETS MODEL... [--sentences 8]

A model quantised around every operator rounds so often that end-to-end errors say little: one step
that falls the other way early on moves all that follows. So the graph is cut, in turn, behind each
DequantizeLinear of an activation in the embeddings and in layer 0 (graph.output becomes its
output), ONNX Runtime with basic optimisations and the engine compute that tensor from the same
token ids, and the difference is divided by the operator's scale: whole quantisation steps.

What it proves: that quantising, dequantising and every operator up to that point agree, step for step,
as long as what comes before agrees, which the points before show. What it does not prove: operators
on inputs of their own choice, layers after the first, and points the engine cannot be cut at (the
engine wants an encoder's outputs [batch, sequence, width]); those are counted as "not cut".
Fails if fewer than 99.99 % of steps are equal, if one differs by more than 1, or if nothing was cut.
"""

import argparse
import os
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import compare  # noqa: E402


def points(model):
    """(tensor, scale) behind each DequantizeLinear of an activation, embeddings and layer 0, in order."""
    constants = {i.name: i for i in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "DequantizeLinear" or node.input[0] in constants or node.input[1] not in constants:
            continue
        scale = numpy_helper.to_array(constants[node.input[1]])
        if scale.size == 1 and ("embeddings" in node.output[0] or "layer.0" in node.output[0]):
            yield node.output[0], float(scale.ravel()[0])


def steps(binary, model, tensor, scale, rows, folder):
    """(equal steps, all steps, largest difference in steps)"""
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None))
    path = os.path.join(folder, "cut.onnx")
    onnx.save(model, path)
    mine = compare.ours(binary, path, rows, tensor)
    _, want = compare.reference(path, rows, compare.BASIC, tensor)
    if any(a.shape != b.shape for a, b in zip(mine, want, strict=True)):
        raise RuntimeError("another shape")
    off = np.concatenate([np.abs(np.rint((a - b) / scale)).ravel() for a, b in zip(mine, want)])
    return int((off == 0).sum()), off.size, int(off.max())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--assets", required=True)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--sentences", type=int, default=8)
    args = parser.parse_args()
    tokenizer = os.path.join(args.assets, "tokenizers", "bert-base-cased", "tokenizer.json")
    rows = compare.rows_of(tokenizer, compare.sentences(args.assets, args.sentences))
    print("| Model | Points cut | Not cut | Steps | Equal | Largest difference | |\n|---|---|---|---|---|---|---|")
    failed = False
    for path in args.models:
        model = onnx.load(path)
        equal = total = worst = cut = left = 0
        with tempfile.TemporaryDirectory() as folder:
            for tensor, scale in list(points(model)):
                try:
                    good, count, most = steps(args.binary, model, tensor, scale, rows, folder)
                except RuntimeError as error:
                    left += 1
                    print(f"  not cut at {tensor}: {error}", file=sys.stderr)
                    continue
                cut += 1
                equal, total, worst = equal + good, total + count, max(worst, most)
                print(f"  {tensor}: {good} of {count} equal, largest difference {most}", file=sys.stderr, flush=True)
        share = equal / total if total else 0.0
        passed = share >= 0.9999 and worst <= 1 and cut > 0
        failed |= not passed
        name = os.path.basename(path)[:-5]
        print(f"| {name} | {cut} | {left} | {total} | {100 * share:.4f} % | {worst} | {'PASS' if passed else 'FAIL'} |", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
