#!/usr/bin/env python3
"""Makes the small graphs of this folder and ONNX Runtime's answers to them.

    python make.py

One-layer models with random weights (seed 0), one per form and exporter: what `cargo test` opens everywhere. The
real checkpoint's forms are compared by ci/forms. Needs torch 2.15.0, transformers 5.23.0, onnx 1.23.2,
onnxruntime 1.31.1, onnxscript.
"""
import json
import os
import warnings

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.transformers import optimizer
from onnxruntime.transformers.float16 import convert_float_to_float16
from transformers import (BertConfig, BertForSequenceClassification, DistilBertConfig, DistilBertForQuestionAnswering,
                          DistilBertForSequenceClassification, RobertaConfig, RobertaModel)

warnings.filterwarnings("ignore")
torch.set_num_threads(1)
torch.manual_seed(0)
os.chdir(os.path.dirname(os.path.abspath(__file__)))
IDS = torch.randint(5, 30, (2, 9))
MASK = torch.ones_like(IDS)
MASK[1, 6:] = 0
TYPES = torch.zeros_like(IDS)
TYPES[:, 5:] = 1
ROWS = [[5, 6, 7], [9, 8, 29, 11, 12, 6, 7, 28], [20] * 5 + list(range(5, 16))]


class Pick(torch.nn.Module):
    def __init__(s, m, types, names):
        super().__init__()
        s.m, s.types, s.names = m, types, names

    def forward(s, input_ids, attention_mask, token_type_ids=None):
        kw = {"token_type_ids": token_type_ids} if s.types else {}
        o = s.m(input_ids=input_ids, attention_mask=attention_mask, **kw)
        return tuple(getattr(o, n) for n in s.names)


def export(file, model, names, types=False, opset=17, dynamo=False):
    m = Pick(model, types, names).eval()
    args = (IDS, MASK) + ((TYPES,) if types else ())
    inputs = ["input_ids", "attention_mask", "token_type_ids"][: len(args)]
    if dynamo:
        b, s = torch.export.Dim("batch", min=1, max=64), torch.export.Dim("sequence", min=2, max=24)
        shapes = tuple({0: b, 1: s} for _ in args)
        torch.onnx.export(m, args, dynamo=True, opset_version=opset, input_names=inputs, output_names=names,
                          dynamic_shapes=shapes).save(file)
    else:
        torch.onnx.export(m, args, file, dynamo=False, opset_version=opset, input_names=inputs, output_names=names,
                          dynamic_axes={i: {0: "batch", 1: "sequence"} for i in inputs})


class Reader(CalibrationDataReader):
    def __init__(s):
        s.rows = iter(ROWS)

    def get_next(s):
        row = next(s.rows, None)
        return None if row is None else {"input_ids": np.array([row]), "attention_mask": np.ones((1, len(row)), np.int64)}


def distil(attn="eager"):
    torch.manual_seed(1)
    c = DistilBertConfig(vocab_size=32, dim=24, n_layers=1, n_heads=3, hidden_dim=40, max_position_embeddings=24, num_labels=3)
    return DistilBertForSequenceClassification._from_config(c, attn_implementation=attn)


b = dict(vocab_size=32, hidden_size=20, num_hidden_layers=2, num_attention_heads=2, intermediate_size=36,
         max_position_embeddings=26)
qa = DistilBertForQuestionAnswering._from_config(DistilBertConfig(vocab_size=32, dim=24, n_layers=1, n_heads=4, hidden_dim=40,
                                                                  max_position_embeddings=24), attn_implementation="eager")
export("fp32-ts-11.onnx", distil(), ["logits"], opset=11)
export("fp32-ts-17.onnx", distil(), ["logits"])
export("fp32-sdpa-ts-17.onnx", distil("sdpa"), ["logits"])
export("bert-types-ts-17.onnx", BertForSequenceClassification._from_config(BertConfig(**b, num_labels=2), attn_implementation="eager"), ["logits"], types=True)
export("bert-gelu-tanh-ts-13.onnx", BertForSequenceClassification._from_config(BertConfig(**b, hidden_act="gelu_new"), attn_implementation="eager"),
       ["logits"], opset=13)
export("answer-ts-17.onnx", qa, ["start_logits", "end_logits"])
export("roberta-ts-17.onnx", RobertaModel._from_config(RobertaConfig(**b, type_vocab_size=1, pad_token_id=1), attn_implementation="eager"), ["last_hidden_state"])
src = "fp32-ts-17.onnx"
onnx.save(convert_float_to_float16(onnx.load(src), keep_io_types=True), "fp16-ts-17.onnx")
quantize_dynamic(src, "dynamic-ts-17.onnx", per_channel=True, weight_type=QuantType.QInt8)
quantize_dynamic(src, "dynamic-u8-ts-17.onnx", weight_type=QuantType.QUInt8)
for name, form, kw in (("qdq", QuantFormat.QDQ, {}), ("qop", QuantFormat.QOperator, {}),
                       ("qdq-linear-s8", QuantFormat.QDQ, {"op_types_to_quantize": ["Gemm"], "activation_type": QuantType.QInt8})):
    kw = {"activation_type": QuantType.QUInt8} | kw
    quantize_static(src, f"{name}-ts-17.onnx", Reader(), quant_format=form, per_channel=True, weight_type=QuantType.QInt8, **kw)
# ONNX Runtime's fused operators: by its tool for transformers, and as it saves a model that it has optimised.
optimizer.optimize_model(src, model_type="bert", num_heads=3, hidden_size=24).save_model_to_file("fused-ts-17.onnx")
quantize_dynamic("fused-ts-17.onnx", "fused-dynamic-ts-17.onnx", weight_type=QuantType.QInt8, extra_options={"DefaultTensorType": 1})
for source, saved in ((src, "ort-ts-17.onnx"), ("dynamic-ts-17.onnx", "ort-dynamic-ts-17.onnx")):
    so = ort.SessionOptions()
    so.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    so.optimized_model_filepath = saved
    so.add_session_config_entry("optimization.enable_gelu_approximation", "1")
    ort.InferenceSession(source, so, providers=["CPUExecutionProvider"])

for file in (f for f in os.listdir(".") if f.endswith(".onnx")):  # without stack traces
    m = onnx.load(file)
    for n in m.graph.node:
        n.ClearField("doc_string")
        n.ClearField("metadata_props")
    m.graph.ClearField("doc_string")
    onnx.save(m, file)
answers = {}
for file in sorted(f for f in os.listdir(".") if f.endswith(".onnx")):
    so = ort.SessionOptions()
    so.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    sess = ort.InferenceSession(file, so)
    cases = []
    for row in ROWS:
        ids = np.array([row])
        types = np.array([[int(i >= len(row) // 2) for i in range(len(row))]])
        have = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": types}
        feeds = {i.name: have[i.name] for i in sess.get_inputs()}
        out = sess.run(None, feeds)
        cases.append({"ids": row, "types": types[0].tolist() if "token_type_ids" in feeds else None,
                      "outputs": {o.name: [float(x) for x in v.ravel()] for o, v in zip(sess.get_outputs(), out)}})
    answers[file] = cases
json.dump(answers, open("answers.json", "w"), indent=None, separators=(",", ":"))
