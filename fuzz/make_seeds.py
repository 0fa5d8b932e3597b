#!/usr/bin/env python3
"""Makes the seeds of the fuzz targets: tiny encoders as exporters and quantizers write them.

    python make_seeds.py

writes corpus/{onnx,onnx_graph,model} beside this file. Needs torch, transformers,
onnx and onnxruntime. Weights come from seeded generators, and matrices of one shape share them where that does not
hinder their quantization: the files are small, and what the graphs compute means nothing.
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

    def __init__(s, enc, heads, shared):
        super().__init__()
        s.enc, s.heads, s.lin = enc, heads, torch.nn.Linear(D, 3)
        if not shared:
            return
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


def export(enc, heads, opset, types=False, fixed=False, shared=True):
    net = Net(enc, heads, shared).eval()
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


def dynamo(enc):
    net = Net(enc, ["cls", "tok"], True).eval()
    ids = torch.arange(2, 12).reshape(2, 5)
    dims = {0: torch.export.Dim("b"), 1: torch.export.Dim("s", max=LEN)}
    program = torch.onnx.export(net, (ids, torch.ones_like(ids)), dynamo=True, opset_version=18, verbose=False,
                                input_names=["input_ids", "attention_mask"], output_names=["cls", "tok"],
                                dynamic_shapes=(dims, dims))
    return program.model_proto


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


def chain(static):
    """ONNX Runtime's fused and integer operators one after another, each as it is used in an encoder."""
    rng = np.random.default_rng(5)
    inits, nodes, outs, named = [], [], [], {}

    def const(a):
        a = np.asarray(a)
        key = (a.dtype.str, a.shape, a.tobytes())
        if key not in named:
            named[key] = f"c{len(inits)}"
            inits.append(numpy_helper.from_array(a, named[key]))
        return named[key]

    def node(op, ins, outs=1, domain="com.microsoft", **attrs):
        names = [f"v{len(nodes)}_{i}" for i in range(outs)]
        nodes.append(h.make_node(op, ins, names, domain=domain, **attrs))
        return names[0] if outs == 1 else names

    def out(x, name):
        nodes.append(h.make_node("Identity", [x], [name]))
        outs.append(h.make_tensor_value_info(name, T.FLOAT, None))

    f = lambda *shape: const((rng.integers(-8, 9, shape) / 16).astype(np.float32))
    row = const((np.arange(D) / 16 - .5).astype(np.float32))
    table = const(rng.integers(0, 255, (VOCAB, D)).astype(np.uint8))
    w8 = const(rng.integers(-99, 99, (D, D)).astype(np.int8))
    wu = const(rng.integers(0, 255, (D, D)).astype(np.uint8))
    s, z, z8 = const(np.float32(1 / 64)), const(np.uint8(128)), const(np.int8(0))
    per = const((np.arange(1, D + 1) / 999).astype(np.float32))
    ids, mask, types = "input_ids", "attention_mask", "token_type_ids"
    emb = {"epsilon": 1e-12}
    if static:
        x, lengths, _ = node("QEmbedLayerNormalization", [ids, types, table, table, table, wu1(const), wu1(const), mask,
                                                          s, s, s, s, s, z, z, z, z, z], 3, **emb)
    else:
        t = f(VOCAB, D)
        x, lengths, _ = node("EmbedLayerNormalization", [ids, types, t, t, t, row, row, mask], 3, **emb)
    quant = lambda v: node("QuantizeLinear", [v, s, z], domain="")
    float_ = lambda v: node("DequantizeLinear", [v, s, z], domain="")
    triple = const(rng.integers(-99, 99, (D, 3 * D)).astype(np.int8))
    bias3 = const((np.arange(3 * D) / 99).astype(np.float32))
    if static:
        a = node("QAttention", [quant(x), triple, bias3, s, s, lengths, z, z8], num_heads=2)
    else:
        q, qs, qz = node("DynamicQuantizeLinear", [x], 3, domain="")
        a = node("QAttention", [q, triple, bias3, qs, s, mask, qz, z8], num_heads=2)
    a, _, _, residual = node("SkipLayerNormalization", [x, a, row, row, row], 4, epsilon=1e-12)
    out(residual, "sum")
    if static:
        y = float_(node("QLinearMatMul", [quant(a), s, z, w8, per, const(np.zeros(D, np.int8)), s, z], domain=""))
    else:
        q, qs, qz = node("DynamicQuantizeLinear", [a], 3, domain="")
        y = node("MatMulIntegerToFloat", [q, wu, qs, s, qz, z, row])
    y = node("BiasGelu", [y, row])
    y = node("DynamicQuantizeMatMul", [y, w8, s, z8, row])
    y = node("FastGelu", [y, row])
    y = node("FusedMatMul", [y, f(D, D)], transB=1, alpha=1.)
    if static:
        n = node("QLinearAdd", [quant(a), s, z, quant(y), s, z, s, z])
        n = node("QLinearAdd", [n, s, z, const(np.full(D, 140, np.uint8)), s, z, s, z])
        y = float_(n)
        out(float_(node("QLinearSigmoid", [n, s, z, s, z])), "gate")
    y = node("SkipLayerNormalization", [a, y, row], epsilon=1e-12)
    out(y, "hid")
    first = node("Gather", [y, const(np.int64(0))], domain="", axis=1)
    if static:
        bias = const(np.arange(D, dtype=np.int32))
        g = node("QGemm", [quant(first), s, z, w8, s, z8, bias, s, z], transB=1, alpha=1.)
        out(node("Tanh", [float_(g)], domain=""), "pool")
        out(node("QGemm", [g, s, z, w8, per, const(np.zeros(D, np.int8)), bias], transB=0), "cls")
    else:
        g = node("Gemm", [first, f(D, D), row], domain="", transB=1, alpha=1., beta=1.)
        out(node("Relu", [g], domain=""), "cls")
    ins = [h.make_tensor_value_info(k, T.INT64, ["b", "s"]) for k in (ids, mask, types)]
    return h.make_model(h.make_graph(nodes, "", ins, outs, inits),
                        opset_imports=[h.make_opsetid("", 17), h.make_opsetid("com.microsoft", 1)], ir_version=8)


def wu1(const):
    return const(np.arange(100, 100 + D, dtype=np.uint8))


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
    dc = dict(vocab_size=VOCAB, initializer_range=.3, dim=D, n_layers=1, n_heads=2, hidden_dim=D, max_position_embeddings=LEN)
    bc = dict(vocab_size=VOCAB, hidden_size=D, num_hidden_layers=1, num_attention_heads=2, intermediate_size=D,
              max_position_embeddings=LEN)
    eager, sdpa = {"attn_implementation": "eager"}, {"attn_implementation": "sdpa"}
    distil = lambda a=eager: DistilBertModel._from_config(DistilBertConfig(**dc), **a)
    bert = lambda a=eager, **kw: BertModel._from_config(BertConfig(**bc, **kw), **a)
    d17 = export(distil(), ["cls", "tok", "unit", "mean"], 17)
    save("distil", onnx.ModelProto.FromString(d17.SerializeToString()))
    save("qa_fixed", export(distil(sdpa), ["qa0", "qa1", "cls"], 14, fixed=True))
    b = lambda: export(bert(), ["pool", "hid"], 14, types=True)
    save("bert11", export(bert(hidden_act="gelu_new"), ["pool"], 11, types=True))
    save("bert_sdpa", export(bert(sdpa), ["cls"], 17, types=True))
    cls = lambda: export(distil(), ["cls"], 14)
    torch.manual_seed(1)
    own = lambda heads: export(distil(), heads, 17, shared=False)
    save("dynamic", dynamic(cls(), weight_type=QuantType.QInt8))
    save("dynamic_ch", dynamic(cls(), weight_type=QuantType.QUInt8, per_channel=True))
    save("qdq", static(own(["cls"]), QuantFormat.QDQ, per_channel=True, activation_type=QuantType.QUInt8,
                       weight_type=QuantType.QInt8, extra_options={"ActivationSymmetric": False}))
    save("qdq16", static(own(["qa0", "qa1"]), QuantFormat.QDQ, activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
                         op_types_to_quantize=["MatMul", "Gemm", "Gather"]))
    save("qop", static(own(["cls"]), QuantFormat.QOperator, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8))
    save("fused", fused(b()))
    save("fused_dynamic", dynamic(fused(b())))
    save("fused_qop", static(fused(b()), QuantFormat.QOperator, activation_type=QuantType.QUInt8,
                             weight_type=QuantType.QInt8, op_types_to_quantize=["Attention"]))
    save("runtime_int8", by_runtime(dynamic(cls())))
    save("half", convert_float_to_float16(cls(), keep_io_types=True))
    save("zoo17", zoo(20))
    save("zoo11", zoo(11))
    save("types", types())
    save("chain_static", chain(True))
    save("chain_dynamic", chain(False))
    save("runtime_qdq", by_runtime(static(own(["cls"]), QuantFormat.QDQ, activation_type=QuantType.QUInt8,
                                          weight_type=QuantType.QInt8)))
    save("dynamo", dynamo(distil(sdpa)))


def edits():
    """The graphs as they are, read in each way; what the fuzzer added to these folders is kept."""
    count = sum(not n.startswith("fault-") for n in os.listdir(f"{CORPUS}/onnx"))
    for target in ("onnx_graph", "model"):
        os.makedirs(f"{CORPUS}/{target}", exist_ok=True)
        for k in range(count):
            with open(f"{CORPUS}/{target}/graph{k}", "wb") as f:
                f.write(bytes([k, k % 4 | (8 if target == "model" else 0)]))
    with open(f"{CORPUS}/onnx_graph/tokenizer-too-large", "wb") as f:
        f.write(bytes([4, 6]))


if __name__ == "__main__":
    graphs()
    edits()
