#!/usr/bin/env python3
"""Counts equal integer steps of static models at successive points of the graph.

Usage: per_operator.py --binary POCKETBERT --assets ASSETS MODEL... [--sentences 8]

A model quantised around every operator rounds so often that end-to-end errors say little: one step
that falls the other way early on moves all that follows. So the graph is cut, in turn, behind each
DequantizeLinear of an activation in the embeddings and in layer 0 (graph.output becomes its
output), ONNX Runtime with basic optimisations and the engine compute that tensor from the same
token ids, and the difference is divided by the operator's scale: whole quantisation steps.

Judged are tokens with bit-equal inputs only: those whose steps were all equal at every earlier point
(for attention, which mixes tokens: all tokens of the sentence). A step that already differed is
amplified by what follows (GELU's error function turns one step into eight) and says nothing about it;
the share over all tokens is printed beside it.

What it proves: that quantising, dequantising and the operators between two points give the same
integers for the same inputs. What it does not prove: operators on inputs of their own choice, layers
after the first, and points the engine cannot be cut at (inside attention: it wants an encoder's
outputs [batch, sequence, width]); those are counted as "not cut".
Fails if fewer than 99.99 % of the judged steps are equal, if one differs by more than 1, or if nothing
was cut.
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


def mixes_tokens(tensor):
    """Whether the tensor is attention's own: behind the projections of queries, keys and values."""
    part = tensor.rsplit("attention/", 1)[-1] if "attention/" in tensor else ""
    return bool(part) and not part.startswith(("q_lin", "k_lin", "v_lin", "out_lin"))


def steps(binary, model, tensor, scale, rows, folder):
    """Per sentence: the differences in whole steps, [sequence, width]."""
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None))
    path = os.path.join(folder, "cut.onnx")
    onnx.save(model, path)
    mine = compare.ours(binary, path, rows, tensor)
    _, want = compare.reference(path, rows, compare.BASIC, tensor)
    if any(a.shape != b.shape or a.ndim != 2 for a, b in zip(mine, want, strict=True)):
        raise RuntimeError("another shape")
    return [np.abs(np.rint((a - b) / scale)) for a, b in zip(mine, want)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--assets", required=True)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--sentences", type=int, default=8)
    args = parser.parse_args()
    tokenizer = os.path.join(args.assets, "tokenizers", "bert-base-cased", "tokenizer.json")
    rows = compare.rows_of(tokenizer, compare.sentences(args.assets, args.sentences))
    print("| Model | Points cut | Not cut | Steps judged | Equal | Largest difference | Equal of all | |\n|---|---|---|---|---|---|---|---|")
    failed = False
    for path in args.models:
        model = onnx.load(path)
        equal = total = worst = all_equal = all_total = cut = left = 0
        clean = [np.ones(len(row), bool) for row in rows]
        with tempfile.TemporaryDirectory() as folder:
            for tensor, scale in list(points(model)):
                try:
                    off = steps(args.binary, model, tensor, scale, rows, folder)
                except RuntimeError as error:
                    left += 1
                    print(f"  not cut at {tensor}: {error}", file=sys.stderr)
                    continue
                cut += 1
                if mixes_tokens(tensor):
                    clean = [np.full_like(c, c.all()) for c in clean]
                judged = np.concatenate([o[c].ravel() for o, c in zip(off, clean)])
                equal, total = equal + int((judged == 0).sum()), total + judged.size
                worst = max(worst, int(judged.max(initial=0)))
                all_equal += sum(int((o == 0).sum()) for o in off)
                all_total += sum(o.size for o in off)
                clean = [c & (o == 0).all(1) for o, c in zip(off, clean)]
                print(f"  {tensor}: {int((judged == 0).sum())} of {judged.size} judged steps equal", file=sys.stderr, flush=True)
        share = equal / total if total else 0.0
        passed = share >= 0.9999 and worst <= 1 and cut > 0
        failed |= not passed
        name = os.path.basename(path)[:-5]
        print(f"| {name} | {cut} | {left} | {total} | {100 * share:.4f} % | {worst} | {100 * all_equal / max(all_total, 1):.4f} % | {'PASS' if passed else 'FAIL'} |", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
