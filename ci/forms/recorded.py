#!/usr/bin/env python3
"""Feeds the engine's operators what ONNX Runtime fed its own, and compares the integers.

Usage: recorded.py --binary POCKETBERT --models DIR --assets ASSETS [--sentences 24] [--only TEXT]

DIR holds <form>@<cell>.onnx (ci/forms/make.py writes them); static forms (qdq_*, qop_*) are read.
One run of ONNX Runtime with basic optimisations records every 8-bit activation with a row per token.
For each of these a model is made of the nodes between it and the 8-bit activations before it. The
recorded values of those stand in it as embedding tables, a row per recorded token, and the token
ids count the rows: so `pocketbert run` computes just this piece, from ONNX Runtime's own numbers.
`*_lin` forms leave most of the graph in float; there the float input of a QuantizeLinear is
recorded too and every product with weights ends a piece as well. Products that stay in float have
no integers; their error may be 2e-5 of the largest value.

So every layer is reached, attention as one piece and QLinear operators, whatever went before.

Judged: integers at most one step off everywhere and equal on 99.99 %. A piece that the engine does
not open (half a GELU, say) grows by the pieces before it, up to three times; if it still does not
open, it is listed with the message: it is not run, not passed. Exit status 1 on any difference
beyond that, or when nothing ran.
"""

import collections
import glob
import os
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import compare  # noqa: E402

# Where the scale and zero point of an operator's output are among its inputs.
OUTPUT_SCALE = {"QuantizeLinear": 1, "QLinearMatMul": 6, "QGemm": 7, "QLinearAdd": 6, "QLinearMul": 6,
                "QLinearSoftmax": 3, "QLinearConcat": 0, "QLinearSigmoid": 3, "QLinearLeakyRelu": 3}
FLOAT_LIMIT = 20e-6


class Graph:
    def __init__(self, path):
        self.model = onnx.load(path)
        graph = self.model.graph
        self.constants = {i.name: i for i in graph.initializer}
        self.producer = {o: n for n in graph.node for o in n.output if o}
        self.inputs = {i.name: i for i in graph.input if i.name not in self.constants}
        self.active = set()  # what depends on a graph input
        for node in graph.node:
            if any(i in self.inputs or i in self.active for i in node.input):
                self.active.update(node.output)

    def scale(self, name):
        """The names of scale and zero point of an 8-bit activation, also behind nodes that only move it."""
        node = self.producer[name]
        while node.op_type in ("Reshape", "Transpose", "Squeeze", "Unsqueeze"):
            source = node.input[0]
            if source not in self.producer:
                return None
            node = self.producer[source]
        at = OUTPUT_SCALE.get(node.op_type)
        return tuple(node.input[at : at + 2]) if at is not None else None


def record(graph, names, rows):
    """Every tensor of `names` for every row: {name: [array]}, and the element types."""
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    have = {o.name for o in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in have)
    session = compare.session_of(model.SerializeToString(), compare.BASIC)
    out = collections.defaultdict(list)
    for row in rows:
        for name, value in zip(names, session.run(names, compare.feed(session, [row]))):
            out[name].append(value)
    return out


def piece(graph, target, cuts):
    """The nodes from `cuts` to `target` in order and the cuts that they read."""
    wanted, seen, used = [target], set(), set()
    while wanted:
        name = wanted.pop()
        if not name or name in seen:
            continue
        seen.add(name)
        if name != target and name in cuts:
            used.add(name)
        elif name in graph.producer:
            wanted.extend(graph.producer[name].input)
    nodes = [n for n in graph.model.graph.node if any(o in seen and o not in used for o in n.output)]
    return nodes, used


def embed(graph, target, nodes, used, records):
    """The model of one piece."""
    constants = {name: graph.constants[name] for n in nodes for name in n.input if name in graph.constants}
    head, tail, output = [], [], target
    for k, name in enumerate(sorted(used)):
        values = np.concatenate([v[0] for v in records[name]])
        rows = name if values.dtype == np.float32 else f"rows_{k}"
        head.append(helper.make_node("Gather", [f"table_{k}", "input_ids"], [rows]))
        if values.dtype != np.float32:
            scale, zero = graph.scale(name)
            s, z = constant(graph, scale), constant(graph, zero)
            values = (values.astype(np.int32) - z.astype(np.int32)).astype(np.float32) * s
            head.append(helper.make_node("QuantizeLinear", [rows, scale, zero], [name]))
            constants[scale], constants[zero] = graph.constants[scale], graph.constants[zero]
        constants[f"table_{k}"] = numpy_helper.from_array(values.astype(np.float32), f"table_{k}")
    if records[target][0].dtype != np.float32:
        scale, zero = graph.scale(target)
        constants[scale], constants[zero] = graph.constants[scale], graph.constants[zero]
        tail = [helper.make_node("DequantizeLinear", [target, scale, zero], ["out"])]
        output = "out"
    axes = ["batch", "sequence"]
    value = helper.make_tensor_value_info(output, TensorProto.FLOAT, [*axes, records[target][0].shape[-1]])
    inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, axes) for n in ("input_ids", "attention_mask")]
    body = helper.make_graph(head + list(nodes) + tail, "piece", inputs, [value], list(constants.values()))
    return helper.make_model(body, opset_imports=graph.model.opset_import, ir_version=graph.model.ir_version), output


def constant(graph, name):
    return numpy_helper.to_array(graph.constants[name])


def targets_of(graph, form, rows):
    """Which tensors end a piece, which begin one, with their recorded values."""
    candidates, floats = [], []
    for node in graph.model.graph.node:
        for name in node.output:
            if name not in graph.active:
                continue
            quantised = node.op_type in OUTPUT_SCALE and all(i in graph.constants for i in graph.scale(name))
            if quantised:
                candidates.append(name)
        if "_lin" in form and node.op_type == "QuantizeLinear" and node.input[0] in graph.active:
            floats.append(node.input[0])
    products = []
    if "qdq_lin" in form:
        for node in graph.model.graph.node:
            if node.op_type in ("MatMul", "Gemm") and node.output[0] in graph.active:
                weights = graph.producer.get(node.input[1])
                if weights is None or weights.op_type != "DequantizeLinear":
                    continue
                if weights.input[0] in graph.constants:
                    products.append(node.output[0])
    records = record(graph, list(dict.fromkeys(candidates + floats + products)), rows)
    per_token = {n for n, v in records.items() if all(x.ndim == 3 and x.shape[:2] == (1, len(r)) for x, r in zip(v, rows))}
    return [n for n in records if n in per_token and n in candidates + products], per_token, records


def check(binary, graph, target, per_token, products, rows, records, folder):
    """(kind, verdict, numbers)"""
    kind = graph.producer[target].op_type
    cuts = per_token - products
    order = [o for n in graph.model.graph.node for o in n.output]
    for _ in range(4):  # a piece that is no operator of the engine grows by the one before it
        nodes, used = piece(graph, target, cuts)
        result = compute(binary, graph, target, kind, nodes, used, rows, records, folder)
        if result[2] is not None or not used:
            break
        cuts = cuts - {max(used, key=order.index)}
    return result


def compute(binary, graph, target, kind, nodes, used, rows, records, folder):
    if used and any(n.op_type == "Gather" and "input_ids" in n.input for n in nodes):
        return kind, "left out: reads both token ids and recorded rows", None
    model, output = embed(graph, target, nodes, used, records)
    path = os.path.join(folder, "piece.onnx")
    onnx.save(model, path)
    if used:
        starts = np.cumsum([0] + [len(r) for r in rows])
        ids = [list(range(a, a + len(r))) for a, r in zip(starts, rows)]
    else:
        ids = rows
    try:
        got = np.concatenate(compare.ours(binary, path, ids, output)).astype(np.float64)
    except RuntimeError as error:
        return kind, str(error).replace(path, "piece.onnx"), None
    want = np.concatenate([v[0] for v in records[target]])
    if want.dtype == np.float32:
        error = np.abs(got - want).max() / np.abs(want).max()
        return kind + " (float)", "", (want.size, 0, int(error > FLOAT_LIMIT), error)
    scale, zero = (constant(graph, n) for n in graph.scale(target))
    steps = np.abs(np.rint(got / float(scale)) + int(zero) - want.astype(np.int64))
    inside = "+".join(sorted(kinds_of(nodes))) or "Gather"
    label = kind if len(nodes) == 1 else f"{kind} ending {inside}"
    return label, "", (want.size, int((steps == 1).sum()), int((steps > 1).sum()), float(steps.max()))


def kinds_of(nodes):
    """The kinds of nodes that compute: not those that move, count or convert."""
    plain = """QuantizeLinear DequantizeLinear Constant Shape Gather GatherND Unsqueeze Concat Reshape Transpose Cast Slice
        Squeeze Expand Range ConstantOfShape Equal Where And GreaterOrEqual Flatten Identity IsNaN Max""".split()
    return {n.op_type for n in nodes}.difference(plain)


def main():
    args = compare.options(__doc__, "models", 24).parse_args()
    rows = compare.checkpoint_rows(args)
    print(f"{len(rows)} sentences, {sum(map(len, rows))} tokens\n")
    print("| Model | Piece | Pieces | Values | One step off | More | Largest | |\n|---|---|---|---|---|---|---|---|", flush=True)
    failed = ran = 0
    skipped = collections.Counter()
    for path in sorted(glob.glob(os.path.join(args.models, "*@*.onnx"))):
        name = os.path.basename(path)[:-5]
        form = name.split("@")[0]
        if not form.startswith(("qdq", "qop")) or args.only not in name:
            continue
        graph = Graph(path)
        targets, per_token, records = targets_of(graph, form, rows)
        products = {t for t in targets if records[t][0].dtype == np.float32}
        table = {}
        with tempfile.TemporaryDirectory() as folder:
            for target in targets:
                kind, verdict, numbers = check(args.binary, graph, target, per_token, products, rows, records, folder)
                if numbers is None:
                    skipped[f"{name} | {kind} | {verdict}"] += 1
                    continue
                count, size, one, more, worst = table.get(kind, (0, 0, 0, 0, 0))
                table[kind] = (count + 1, size + numbers[0], one + numbers[1], more + numbers[2], max(worst, numbers[3]))
        for kind, (count, size, one, more, worst) in sorted(table.items()):
            passed = more == 0 and one <= size * 1e-4
            failed += not passed
            ran += 1
            print(f"| {name} | {kind} | {count} | {size} | {one} | {more} | {worst:.2g} | {'PASS' if passed else 'FAIL'} |", flush=True)
    if skipped:
        print("\nNot run:\n\n| Model | Ends in | Reason | Pieces |\n|---|---|---|---|")
        for reason, count in skipped.items():
            print(f"| {reason} | {count} |".replace("\n", " "))
    print(f"\n{ran - failed} of {ran} kinds pass, {sum(skipped.values())} pieces not run")
    sys.exit(1 if failed or not ran else 0)


if __name__ == "__main__":
    main()
