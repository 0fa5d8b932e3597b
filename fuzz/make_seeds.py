#!/usr/bin/env python3
"""Makes the seeds of the fuzz targets: tiny encoders as exporters and quantizers write them.

    python make_seeds.py

writes corpus/{onnx,onnx_graph,model} beside this file. Needs torch, transformers,
onnx and onnxruntime. All weights come from one seeded generator and are shared by the layers, so that the files
are small; what the graphs compute means nothing.
"""
import os
import tempfile
import warnings

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.transformers import optimizer
from onnxruntime.transformers.float16 import convert_float_to_float16
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel

warnings.filterwarnings("ignore")
torch.set_num_threads(1)
HERE = os.path.dirname(os.path.abspath(__file__))
CORPUS = os.path.join(HERE, "corpus")
D, VOCAB, LEN = 16, 32, 8


class Net(torch.nn.Module):
    """An encoder and, as asked for, heads on the first token, on every token, on the mean and its direction."""

    def __init__(s, enc, heads):
        super().__init__()
        s.enc, s.heads, s.lin = enc, heads, torch.nn.Linear(D, 3)
        g = torch.Generator().manual_seed(7)
        pool = {}
        with torch.no_grad():
            for p in s.parameters():
                if tuple(p.shape) not in pool:
                    pool[tuple(p.shape)] = torch.randint(-8, 9, p.shape, generator=g) / 16.0
                p.copy_(pool[tuple(p.shape)])

    def forward(s, ids, mask, types=None):
        kw = {} if types is None else {"token_type_ids": types}
        e = s.enc(input_ids=ids, attention_mask=mask, **kw)
        x = e.last_hidden_state
        m = mask[..., None].to(x.dtype)
        mean = (x * m).sum(1) / m.sum(1).clamp(min=1e-9)
        made = {"cls": lambda: s.lin(x[:, 0]), "tok": lambda: s.lin(x), "mean": lambda: mean,
                "unit": lambda: torch.nn.functional.normalize(mean, dim=-1), "hid": lambda: x,
                "qa0": lambda: s.lin(x)[..., 0], "qa1": lambda: s.lin(x).split(1, dim=-1)[1].squeeze(-1),
                "pool": lambda: torch.relu(s.lin(e.pooler_output))}
        return tuple(made[n]() for n in s.heads)


def export(enc, heads, opset, types=False, fixed=False):
    net = Net(enc, heads).eval()
    ids = torch.arange(2, 12).reshape(2, 5)
    mask = torch.ones_like(ids)
    mask[1, 3:] = 0
    names = ["input_ids", "attention_mask"] + (["token_type_ids"] if types else [])
    args = (ids, mask) + ((torch.zeros_like(ids),) if types else ())
    axes = {n: {0: "b", 1: "s"} for n in names}
    axes |= {n: {0: "b", 1: "s"} if n in ("tok", "hid", "qa0", "qa1") else {0: "b"} for n in heads}
    with tempfile.TemporaryDirectory() as d:
        p = os.path.join(d, "m.onnx")
        torch.onnx.export(net, args, p, dynamo=False, opset_version=opset, input_names=names, output_names=list(heads),
                          dynamic_axes=None if fixed else axes)
        return onnx.load(p)


def small(m):
    """Short names, no notes, each constant once."""
    g = m.graph
    while g.value_info:
        g.value_info.pop()
    keep = {v.name for v in list(g.input) + list(g.output)}
    names, seen = {}, {}

    def short(n):
        if n == "" or n in keep:
            return n
        return names.setdefault(n, np.base_repr(len(names), 36).lower() + "_")

    inits = list(g.initializer)
    del g.initializer[:]
    for t in inits:
        a = numpy_helper.to_array(t)
        key = (t.data_type, tuple(t.dims), a.tobytes())
        if key in seen:
            names[t.name] = short(seen[key])
            continue
        seen[key] = t.name
        n = numpy_helper.from_array(a, short(t.name))
        g.initializer.append(n)
    nodes, same = list(g.node), {}
    del g.node[:]
    for n in nodes:
        if n.op_type == "Constant":
            key = n.attribute[0].SerializeToString()
            if key in same:
                names[n.output[0]] = short(same[key])
                continue
            same[key] = n.output[0]
        g.node.append(n)
    for n in g.node:
        n.name, n.doc_string = "", ""
        n.input[:] = [short(i) for i in n.input]
        n.output[:] = [short(o) for o in n.output]
        for a in n.attribute:
            a.doc_string = ""
            if a.type == onnx.AttributeProto.TENSOR:
                a.t.name = ""
    del m.metadata_props[:]
    for n in g.node:
        del n.metadata_props[:]
    m.producer_name = m.producer_version = m.doc_string = g.name = g.doc_string = ""
    return m


def save(name, m):
    os.makedirs(f"{CORPUS}/onnx", exist_ok=True)
    data = small(m).SerializeToString()
    with open(f"{CORPUS}/onnx/{name}", "wb") as f:
        f.write(data)
    print(f"{name:16} {len(data):6} bytes  {len(m.graph.node)} nodes")


class Batches(CalibrationDataReader):
    def __init__(s, m):
        s.names = [i.name for i in m.graph.input]
        s.left = 2

    def get_next(s):
        s.left -= 1
        if s.left < 0:
            return None
        ids = (np.arange(10).reshape(2, 5) + s.left * 9).astype(np.int64) % VOCAB
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        return {n: feeds[n] for n in s.names}


def through(m, f):
    with tempfile.TemporaryDirectory() as d:
        a, b = os.path.join(d, "a.onnx"), os.path.join(d, "b.onnx")
        onnx.save(m, a)
        f(a, b)
        return onnx.load(b)


def dynamic(m, **kw):
    kw["extra_options"] = {"DefaultTensorType": T.FLOAT}
    return through(m, lambda a, b: quantize_dynamic(a, b, **kw))


def static(m, fmt, **kw):
    kw.setdefault("extra_options", {})["DefaultTensorType"] = T.FLOAT
    return through(m, lambda a, b: quantize_static(a, b, Batches(m), quant_format=fmt, **kw))


def fused(m):
    def go(a, b):
        optimizer.optimize_model(a, "bert", num_heads=2, hidden_size=D, opt_level=0).save_model_to_file(b)
    return through(m, go)


def by_runtime(m):
    """As ONNX Runtime's own passes leave it."""
    def go(a, b):
        s = ort.SessionOptions()
        s.optimized_model_filepath, s.intra_op_num_threads = b, 1
        s.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        ort.InferenceSession(a, s, providers=["CPUExecutionProvider"])
    return through(m, go)


def zoo(opset):
    """A chain through every operator that may stand between a mask or a position and its use."""
    inits, nodes = [], []
    count = [0]

    def const(a):
        name = f"c{len(inits)}"
        inits.append(numpy_helper.from_array(np.asarray(a), name))
        return name

    def node(op, ins, outs=1, **attrs):
        count[0] += 1
        names = [f"v{count[0]}_{i}" for i in range(outs)]
        nodes.append(h.make_node(op, ins, names, **attrs))
        return names[0] if outs == 1 else names

    f = lambda *x: const(np.array(x, np.float32))
    i = lambda *x: const(np.array(x, np.int64))
    s = lambda x: const(np.array(x, np.int64))
    ids, mask = "input_ids", "attention_mask"
    x = node("Cast", [mask], to=T.FLOAT)
    parts = []
    for op in ["Neg", "Abs", "Sqrt", "Exp", "Tanh", "Erf", "Relu", "Sigmoid", "Floor", "Ceil", "Round", "Reciprocal",
               "Sign", "Identity", "Dropout", "Log", "Softmax", "LogSoftmax", "Gelu"]:
        parts.append(node(op, [x]))
    parts.append(node("Gelu", [x], approximate="tanh"))
    parts.append(node("FastGelu", [x], domain="com.microsoft"))
    parts.append(node("CastLike", [ids, x]))
    parts.append(node("Clip", [x, const(np.float32(0)), const(np.float32(.5))]))
    y = f(2., 3., 0., 1., 5.)
    for op in ["Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Mod"]:
        parts.append(node(op, [x, y]))
    for op in ["Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"]:
        b = node(op, [x, y])
        for op2 in ["And", "Or", "Xor"]:
            b = node(op2, [b, node("Not", [b])])
        parts.append(node("Where", [b, x, y]))
    parts.append(node("Cast", [node("IsNaN", [x])], to=T.BOOL))
    parts.append(node("IsInf", [x]))
    parts.append(node("Div", [ids, i(2)]))
    parts.append(node("Mod", [ids, i(3)]))
    shape = node("Shape", [ids])
    parts.append(node("Shape", [ids], start=-1, end=2))
    parts.append(node("Size", [ids]))
    n = node("Gather", [shape, s(1)], axis=0)
    r = node("Range", [s(0), n, s(1)])
    parts += [r, node("CumSum", [mask, s(1)])]
    parts.append(node("Reshape", [x, i(0, -1)]))
    parts.append(node("Flatten", [x], axis=1))
    if opset >= 13:
        u = node("Unsqueeze", [x, i(1, 2)])
        parts += [node("Squeeze", [u, i(1)]), node("Squeeze", [u])]
        parts += node("Split", [x, i(2, 3)], outs=2, axis=1)
        for op in ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL2"]:
            parts.append(node(op, [x, i(-1)], keepdims=0))
        parts.append(node("ReduceSum", [x], noop_with_empty_axes=1))
    else:
        u = node("Unsqueeze", [x], axes=[1, 2])
        parts += [node("Squeeze", [u], axes=[1]), node("Squeeze", [u])]
        parts += node("Split", [x], outs=2, axis=1)
        for op in ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL2"]:
            parts.append(node(op, [x], axes=[1], keepdims=1))
    parts.append(node("Transpose", [u], perm=[0, 2, 1, 3]))
    parts.append(node("Transpose", [x]))
    parts.append(node("Expand", [u, i(1, 2, 1, 1)]))
    parts.append(node("Tile", [x, i(2, 1)]))
    parts.append(node("ConstantOfShape", [shape], value=h.make_tensor("", T.INT64, [1], [3])))
    parts.append(node("ConstantOfShape", [shape]))
    parts.append(node("Concat", [x, x], axis=1))
    parts.append(node("Slice", [x, i(0), i(100), i(1), i(2)]))
    parts.append(node("Slice", [x, i(-1), i(-100), i(1), i(-1)]))
    parts.append(node("Slice", [x, i(1), i(3)]))
    parts.append(node("GatherElements", [x, mask], axis=1))
    parts.append(node("GatherND", [x, const(np.array([[0, 1], [1, 0]], np.int64))]))
    parts.append(node("Trilu", [x]))
    q = node("QuantizeLinear", [x, const(np.float32(.5)), const(np.uint8(3))])
    parts += [q, node("DequantizeLinear", [q, const(np.float32(.5)), const(np.uint8(3))])]
    parts.append(node("QuantizeLinear", [x, f(1., 2., 3., 4., 5.)]))
    w = const(np.ones((5, 5), np.float32))
    wq = const(np.ones((5, 5), np.int8))
    dq = node("DynamicQuantizeLinear", [x], outs=3)
    parts += [node("MatMul", [x, w]), node("Gemm", [x, w], transB=1), node("MatMulInteger", [dq[0], wq, dq[2]])]
    sc, z = const(np.float32(.5)), const(np.uint8(0))
    ms = "com.microsoft"
    parts.append(node("QLinearMatMul", [q, sc, z, wq, sc, const(np.int8(0)), sc, z]))
    for op in ["QLinearAdd", "QLinearMul"]:
        parts.append(node(op, [q, sc, z, q, sc, z, sc, z], domain=ms))
    for op in ["QLinearSoftmax", "QLinearSigmoid", "QLinearLeakyRelu"]:
        parts.append(node(op, [q, sc, z, sc, z], domain=ms))
    parts.append(node("QGemm", [q, sc, z, wq, sc, const(np.int8(0)), const(np.ones(5, np.int32)), sc, z], domain=ms))
    parts.append(node("LayerNormalization", [x, y, y]))
    parts.append(node("BiasGelu", [x, y], domain=ms))
    for v in ([1, 2], 3):
        parts.append(node("Constant", [], **({"value_ints": v} if isinstance(v, list) else {"value_int": v})))
    parts += [node("Constant", [], value_float=1.), node("Constant", [], value_floats=[1., 2.])]
    e = node("Gather", [const(np.ones((VOCAB, 4), np.float32)), ids])
    outs = [h.make_tensor_value_info("e", T.FLOAT, None)]
    nodes.append(h.make_node("Identity", [e], ["e"]))
    # What no output needs is dropped before it is looked at.
    total = node("Sum", parts)
    outs.append(h.make_tensor_value_info(total, T.FLOAT, None))
    g = h.make_graph(nodes, "", [h.make_tensor_value_info(k, T.INT64, ["b", 5]) for k in (ids, mask)], outs, inits)
    m = h.make_model(g, opset_imports=[h.make_opsetid("", opset), h.make_opsetid(ms, 1)], ir_version=8)
    return m


def types():
    """Constants of every element type, with and without raw data."""
    inits = []
    for k, t in enumerate([T.FLOAT, T.UINT8, T.INT8, T.UINT16, T.INT16, T.INT32, T.INT64, T.BOOL, T.FLOAT16, T.DOUBLE,
                           T.UINT32, T.UINT64, T.BFLOAT16]):
        t = h.make_tensor(f"t{k}", t, [1, 2], [0, 1])
        inits.append(t)
    nodes, last = [], "e0"
    inits.append(h.make_tensor("w", T.FLOAT, [VOCAB, 2], [k / 8 for k in range(2 * VOCAB)]))
    nodes.append(h.make_node("Gather", ["w", "input_ids"], ["e0"]))
    for k in range(13):
        nodes.append(h.make_node("Cast", [f"t{k}"], [f"f{k}"], to=T.FLOAT))
        nodes.append(h.make_node("Add", [last, f"f{k}"], [f"s{k}"]))
        last = f"s{k}"
    g = h.make_graph(nodes, "", [h.make_tensor_value_info("input_ids", T.INT64, ["b", "s"])],
                     [h.make_tensor_value_info(last, T.FLOAT, None)], inits)
    return h.make_model(g, opset_imports=[h.make_opsetid("", 17)], ir_version=8)


def graphs():
    dc = dict(vocab_size=VOCAB, dim=D, n_layers=1, n_heads=2, hidden_dim=D, max_position_embeddings=LEN)
    bc = dict(vocab_size=VOCAB, hidden_size=D, num_hidden_layers=1, num_attention_heads=2, intermediate_size=D,
              max_position_embeddings=LEN)
    eager, sdpa = {"attn_implementation": "eager"}, {"attn_implementation": "sdpa"}
    distil = lambda a=eager: DistilBertModel._from_config(DistilBertConfig(**dc), **a)
    bert = lambda a=eager, **kw: BertModel._from_config(BertConfig(**bc, **kw), **a)
    d17 = export(distil(), ["cls", "tok", "unit", "mean"], 17)
    save("distil", onnx.ModelProto.FromString(d17.SerializeToString()))
    qa = lambda: export(distil(), ["qa0", "qa1"], 14)
    save("qa_fixed", export(distil(sdpa), ["qa0", "qa1", "cls"], 14, fixed=True))
    b = lambda: export(bert(), ["pool", "hid"], 14, types=True)
    save("bert11", export(bert(hidden_act="gelu_new"), ["pool"], 11, types=True))
    save("bert_sdpa", export(bert(sdpa), ["cls"], 17, types=True))
    cls = lambda: export(distil(), ["cls"], 14)
    save("dynamic", dynamic(cls(), weight_type=QuantType.QInt8))
    save("dynamic_ch", dynamic(cls(), weight_type=QuantType.QUInt8, per_channel=True))
    save("qdq", static(cls(), QuantFormat.QDQ, per_channel=True, activation_type=QuantType.QUInt8,
                       weight_type=QuantType.QInt8, extra_options={"ActivationSymmetric": False}))
    save("qdq16", static(qa(), QuantFormat.QDQ, activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
                         op_types_to_quantize=["MatMul", "Gemm", "Gather"]))
    save("qop", static(cls(), QuantFormat.QOperator, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8))
    save("fused", fused(b()))
    save("fused_dynamic", dynamic(fused(b())))
    save("fused_qop", static(fused(b()), QuantFormat.QOperator, activation_type=QuantType.QUInt8,
                             weight_type=QuantType.QInt8, op_types_to_quantize=["Attention"]))
    save("runtime_int8", by_runtime(dynamic(cls())))
    save("half", convert_float_to_float16(cls(), keep_io_types=True))
    save("zoo17", zoo(20))
    save("zoo11", zoo(11))
    save("types", types())


def edits():
    """The graphs as they are, read both ways; what the fuzzer added to these folders is kept."""
    count = len(os.listdir(f"{CORPUS}/onnx"))
    for target in ("onnx_graph", "model"):
        os.makedirs(f"{CORPUS}/{target}", exist_ok=True)
        for k in range(count):
            with open(f"{CORPUS}/{target}/graph{k}", "wb") as f:
                f.write(bytes([k, k % 2]))


if __name__ == "__main__":
    graphs()
    edits()
