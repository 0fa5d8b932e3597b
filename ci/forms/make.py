#!/usr/bin/env python3
"""Makes every model form of every exporter and opset with ONNX Runtime's own tools.

Usage: make.py CHECKPOINT_DIR OUT_DIR [--only CELL] [--data DATA_DIR]
       make.py --cells

Fills the skeletons of tests/graphs from CHECKPOINT_DIR/model.safetensors and writes
OUT_DIR/<form>@<cell>.onnx. Calibrates on 50 validation sentences of CLINC150, read from DATA_DIR
(default: ../data beside the checkpoint). Cells that a tool cannot make are listed in
OUT_DIR/not_made.json with the tool's words.

Forms: `fp32`; `fp16` (float16 inside, float32 outside); `dynamic` (per-channel int8 weights) and
`dynamic_u8` (one uint8 scale per weight); `qdq_lin_u8`, `qdq_lin_s8` (QuantizeLinear and
DequantizeLinear around linear layers only, uint8 and symmetric int8 activations), `qdq_all_u8`
(around every operator the tool knows); `qop_lin`, `qop_all` (QLinear operators); `fused` (what ONNX
Runtime's transformer optimizer made, a skeleton of its own) and `fused_dyn` (the same, then dynamic);
`ort` and `ort_dyn` (what ONNX Runtime saves of `fp32` and `dynamic` after its extended optimisations,
GELU by its tanh form). OUT_DIR/not_made.json also lists what is left out of a cell, with the reason.
--cells prints the cells' names.
"""

import argparse
import json
import logging
import os
import sys
import time

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.transformers.float16 import convert_float_to_float16
from tokenizers import Tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import fill  # noqa: E402

GRAPHS = os.path.join(HERE, "..", "..", "tests", "graphs")
ALL = """fp32 fp16 dynamic dynamic_u8 qdq_lin_u8 qdq_lin_s8 qdq_all_u8 qop_lin qop_all fused fused_dyn
    ort ort_dyn""".split()
SOME = "fp32 fp16 dynamic qdq_lin_u8".split()
CELLS = {
    "ts-11": ALL,
    "ts-13": ALL,
    "ts-17": ALL,
    "dynamo-21": ALL,
    "ts-20": SOME,
    "ts-17-sdpa": SOME,
    "ts-17-fixed": ["fp32", "dynamic"],
    "ts-17-shapes": ["fp32", "dynamic", "qdq_lin_u8"],
    "dynamo-18": SOME + ["qdq_all_u8", "fused", "fused_dyn"],
    "dynamo-18-eager": ["fp32", "qdq_lin_u8"],
}


class Sentences(CalibrationDataReader):
    def __init__(self, rows):
        self.rows = iter(rows)

    def get_next(self):
        row = next(self.rows, None)
        if row is None:
            return None
        ids = np.array([row])
        return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def calibration(data):
    tokenizer = os.path.join(data, "..", "tokenizers", "bert-base-cased", "tokenizer.json")
    tok = Tokenizer.from_file(tokenizer)
    tok.no_padding()
    tok.no_truncation()
    with open(os.path.join(data, "clinc150", "data_full.json")) as file:
        texts = [text for text, _ in json.load(file)["val"][:3000:60]]
    return [tok.encode(text).ids for text in texts]


def products_without_weights(path):
    """MatMuls of two activations: attention scores and mixes. `*_lin` forms leave them in float."""
    model = onnx.load(path, load_external_data=False)
    weights = {i.name for i in model.graph.initializer}
    for node in model.graph.node:  # dynamo writes a Transpose before some weights, quantisers fold it
        if node.op_type in ("Transpose", "Identity") and node.input[0] in weights:
            weights.add(node.output[0])
    return [n.name for n in model.graph.node if n.op_type == "MatMul" and not weights.intersection(n.input)]


def without_shapes_of_weights(path):
    """dynamo lists weights among its shapes; the dynamic tool transposes some and then trips over the old shape."""
    model = onnx.load(path)
    if any(v.name == i.name for v in model.graph.value_info for i in model.graph.initializer):
        del model.graph.value_info[:]
    return model


def make(form, cell, path, out, rows, weights):
    """Writes `out`, the form of the float32 model `path`."""
    opset = int(cell.split("-")[1])
    static = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    # Per-channel QDQ needs DequantizeLinear's `axis`, which begins at opset 13.
    static["per_channel"] = opset >= 13 and form != "qdq_lin_s8"
    if form.startswith("qdq"):
        static["quant_format"] = QuantFormat.QDQ
    elif form.startswith("qop"):
        static["quant_format"] = QuantFormat.QOperator
    if "_lin" in form:
        static["op_types_to_quantize"] = ["MatMul", "Gemm"]
        static["nodes_to_exclude"] = products_without_weights(path)
    if form == "qdq_lin_s8":
        static["activation_type"] = QuantType.QInt8
        static["extra_options"] = {"ActivationSymmetric": True}
    if form == "fp16":
        onnx.save(convert_float_to_float16(onnx.load(path), keep_io_types=True), out)
    elif form in ("dynamic", "dynamic_u8"):
        model = without_shapes_of_weights(path)
        kind = {"weight_type": QuantType.QUInt8} if form == "dynamic_u8" else {"weight_type": QuantType.QInt8, "per_channel": True}
        quantize_dynamic(model, out, **kind)
    elif form == "fused":
        onnx.save(fill.fill(GRAPHS, f"{cell}-fused", weights), out)
    elif form in ("ort", "ort_dyn"):
        settings = ort.SessionOptions()
        settings.log_severity_level = 3
        settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        settings.optimized_model_filepath = out
        settings.add_session_config_entry("optimization.enable_gelu_approximation", "1")
        source = path if form == "ort" else path.replace("fp32@", "dynamic@")
        ort.InferenceSession(source, settings, providers=["CPUExecutionProvider"])
    elif form == "fused_dyn":
        float_fused = out.replace("fused_dyn@", "fused@")
        if not os.path.exists(float_fused):
            raise ValueError("no fused model to start from")
        # The default tensor type: shape inference knows none for the fused operators.
        quantize_dynamic(without_shapes_of_weights(float_fused), out, weight_type=QuantType.QInt8, extra_options={"DefaultTensorType": 1})
    else:
        quantize_static(path, out, Sentences(rows), **static)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint", nargs="?")
    parser.add_argument("out", nargs="?")
    parser.add_argument("--cells", action="store_true")
    parser.add_argument("--only")
    parser.add_argument("--data")
    args = parser.parse_args()
    if args.cells:
        return print("\n".join(CELLS))
    logging.disable(logging.WARNING)
    os.makedirs(args.out, exist_ok=True)
    weights = fill.tensors(args.checkpoint)
    rows = calibration(args.data or os.path.join(args.checkpoint, "..", "data"))
    not_made = {}
    for cell, forms in CELLS.items():
        if args.only and cell != args.only:
            continue
        source = os.path.join(args.out, f"fp32@{cell}.onnx")
        onnx.save(fill.fill(GRAPHS, cell, weights), source)
        for form in forms[1:]:
            start = time.time()
            out = os.path.join(args.out, f"{form}@{cell}.onnx")
            try:
                make(form, cell, source, out, rows, weights)
                ort.InferenceSession(out, providers=["CPUExecutionProvider"])
            except Exception as error:  # whatever the tool says: a cell of the table, with its reason
                not_made[f"{form}@{cell}"] = f"{type(error).__name__}: {error}"[:300]
                if os.path.exists(out):
                    os.remove(out)
            print(f"{form}@{cell}: {not_made.get(f'{form}@{cell}', 'made')} ({time.time() - start:.1f} s)", flush=True)
    with open(os.path.join(args.out, "not_made.json"), "w") as file:
        json.dump(not_made, file, indent=1)


if __name__ == "__main__":
    main()
