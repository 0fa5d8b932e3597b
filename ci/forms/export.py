#!/usr/bin/env python3
"""Exports the graphs that every model form is made from, and strips them to skeletons.

Usage: export.py CHECKPOINT_DIR GRAPHS_DIR [--only NAME,...]

Made with torch 2.15, transformers 5.23, onnx 1.23.2, onnxruntime 1.31.1; nothing else in this
folder needs torch. CHECKPOINT_DIR holds `model.safetensors` (a DistilBERT body and a
`heads.sentiment` classifier). The model exported is that classifier cut to its first two layers:
real weights and the whole vocabulary, small enough to make every form of it on one core.

GRAPHS_DIR receives, for each cell of CELLS, `<name>.onnx.gz` (the exported graph without its
initializers above 4 KiB) and an entry in `index.json` that says which tensor of the checkpoint
each dropped initializer is (found by comparing values) and whether it lies transposed; several
tensors lie side by side. For each cell of FUSED, `<name>-fused.onnx.gz` is the same of what ONNX
Runtime's transformer optimizer makes of the filled cell: that tool imports torch.
For each cell the filled skeleton is run against the direct export in ONNX Runtime: equal bits.
"""

import argparse
import gzip
import json
import os
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import numpy_helper
from onnxruntime.transformers import optimizer
from safetensors.torch import load_file
from transformers import DistilBertConfig, DistilBertForSequenceClassification

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import fill  # noqa: E402

LAYERS = 2
KEEP = 4096
# name, exporter, opset, attention, variant
CELLS = [
    ("ts-11", "ts", 11, "eager", None),
    ("ts-13", "ts", 13, "eager", None),
    ("ts-17", "ts", 17, "eager", None),
    ("ts-20", "ts", 20, "eager", None),
    ("ts-17-sdpa", "ts", 17, "sdpa", None),
    ("ts-17-fixed", "ts", 17, "eager", "fixed"),
    ("ts-17-shapes", "ts", 17, "eager", "shapes"),
    ("dynamo-18", "dynamo", 18, "sdpa", None),
    ("dynamo-21", "dynamo", 21, "sdpa", None),
    ("dynamo-18-eager", "dynamo", 18, "eager", None),
]
# What the optimizer must make of each; it does not know dynamo's attention and leaves it as it is.
MOST = {"EmbedLayerNormalization", "SkipLayerNormalization", "BiasGelu"}
FUSED = {name: MOST | {"Attention"} for name in ("ts-11", "ts-13", "ts-17")} | {"dynamo-18": MOST, "dynamo-21": MOST}


def load(path, attention):
    weights = {k: v.float() for k, v in load_file(os.path.join(path, "model.safetensors")).items()}
    config = DistilBertConfig(vocab_size=28996, num_labels=2, n_layers=LAYERS)
    model = DistilBertForSequenceClassification._from_config(config, attn_implementation=attention).eval()
    state = {}
    for name in model.state_dict():
        source = name if name.startswith("distilbert.") else f"heads.sentiment.{name}"
        state[name] = weights[source]
    model.load_state_dict(state)
    return model


def export(path, exporter, opset, attention, variant, out):
    model = load(path, attention)
    ids = torch.randint(5, 20000, (1, 32) if variant == "fixed" else (2, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    names = {"input_names": ["input_ids", "attention_mask"], "output_names": ["logits"], "opset_version": opset}
    if variant != "fixed":
        mask[1, 6:] = 0
    if exporter == "ts":
        axes = {0: "batch", 1: "seq"}
        dynamic = {"input_ids": axes, "attention_mask": axes, "logits": {0: "batch"}}
        torch.onnx.export(model, (ids, mask), out, dynamo=False, **names, dynamic_axes=None if variant == "fixed" else dynamic)
    else:
        batch, seq = torch.export.Dim("batch", min=1, max=64), torch.export.Dim("seq", min=2, max=512)
        shapes = {"input_ids": {0: batch, 1: seq}, "attention_mask": {0: batch, 1: seq}}
        torch.onnx.export(model, (ids, mask), dynamo=True, **names, dynamic_shapes=shapes).save(out)
    model = onnx.load(out)
    if variant == "shapes":
        model = onnx.shape_inference.infer_shapes(model)
    for node in model.graph.node:
        # Where the exporter found each operator: paths of the machine it ran on, and most of the file.
        del node.metadata_props[:]
        node.doc_string = ""
    for value in list(model.graph.value_info) + list(model.graph.input) + list(model.graph.output):
        del value.metadata_props[:]
    for init in model.graph.initializer:
        del init.metadata_props[:]
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    got = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    if got != [opset]:
        raise SystemExit(f"{exporter}-{opset}: the exporter wrote opset {got}")
    return model


def source(value, weights):
    """Which tensor `value` is, or which three side by side: queries, keys and values of a layer."""
    for transposed in (False, True):
        for name, tensor in weights.items():
            tensor = tensor.T if transposed else tensor
            if tensor.shape == value.shape and np.array_equal(tensor, value):
                return {"tensor": name, "transposed": transposed}
            if ".q_lin." in name:
                names = [name.replace("q_lin", part) for part in ("q_lin", "k_lin", "v_lin")]
                parts = [weights[n].T if transposed else weights[n] for n in names]
                joined = np.concatenate(parts, -1)
                if joined.shape == value.shape and np.array_equal(joined, value):
                    return {"tensors": names, "transposed": transposed}
    return None


def fused(graphs, name, weights, out):
    """What the transformer optimizer makes of a filled skeleton."""
    onnx.save(fill.fill(graphs, name, weights), out)
    model = optimizer.optimize_model(out, model_type="bert", num_heads=12, hidden_size=768).model
    kinds = {n.op_type for n in model.graph.node}
    if not kinds >= FUSED[name]:
        raise SystemExit(f"{name}: the optimizer did not make {sorted(FUSED[name] - kinds)}")
    return model


def strip(model, weights):
    """Drops large initializers; returns the list that `fill.fill` reads."""
    dropped, kept = [], []
    for init in model.graph.initializer:
        value = numpy_helper.to_array(init)
        if value.nbytes <= KEEP:
            kept.append(init)
            continue
        found = source(value, weights)
        if found is None:
            if value.dtype == np.int64 and np.array_equal(value.ravel(), np.arange(value.size)):
                kept.append(init)  # positions 0..511: small, and no tensor of the checkpoint
                continue
            raise SystemExit(f"initializer `{init.name}` {value.shape} is not a tensor of the checkpoint")
        dropped.append({"name": init.name, "shape": list(value.shape)} | found)
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return dropped


def logits(model, batch, seq):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options)
    ids = np.random.default_rng(3).integers(5, 20000, (batch, seq))
    return session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0]


def write(graphs, name, model, weights, index, shape):
    """The skeleton and its index entry; proves that filling it gives `model` again."""
    want = logits(model, *shape)
    index[name] = strip(model, weights)
    path = os.path.join(graphs, f"{name}.onnx.gz")
    with open(path, "wb") as file:
        file.write(gzip.compress(model.SerializeToString(), 9, mtime=0))
    with open(os.path.join(graphs, "index.json"), "w") as file:
        json.dump(index, file, indent=1)
        file.write("\n")
    got = logits(fill.fill(graphs, name, weights), *shape)
    if not np.array_equal(want, got):
        raise SystemExit(f"{name}: the filled skeleton differs from the export by {np.abs(want - got).max()}")
    dropped = len(index[name])
    print(f"{name}: {dropped} initializers dropped, {os.path.getsize(path)} bytes, filled graph equals the export", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint")
    parser.add_argument("graphs")
    parser.add_argument("--only", help="cells, separated by commas; the others stay as they are")
    args = parser.parse_args()

    def wanted(name):
        return not args.only or name in args.only.split(",")

    torch.set_num_threads(1)
    weights = fill.tensors(args.checkpoint)
    index = {}
    if args.only:
        with open(os.path.join(args.graphs, "index.json")) as file:
            index = json.load(file)
    with tempfile.TemporaryDirectory() as tmp:
        out = os.path.join(tmp, "m.onnx")
        for name, exporter, opset, attention, variant in filter(lambda cell: wanted(cell[0]), CELLS):
            model = export(args.checkpoint, exporter, opset, attention, variant, out)
            write(args.graphs, name, model, weights, index, (1, 32) if variant == "fixed" else (2, 9))
        for name in filter(lambda cell: wanted(f"{cell}-fused"), FUSED):
            write(args.graphs, f"{name}-fused", fused(args.graphs, name, weights, out), weights, index, (2, 9))


if __name__ == "__main__":
    main()
