#!/usr/bin/env python3
"""Speed beside ONNX Runtime, OpenVINO and the CPU's own limit, in one interleaved run.

    python ci/bench.py --fp32 model.onnx --make DIR          # the peers' models, once
    python ci/bench.py --binary target/release/pocketbert --model models/everyday.pbert \
        --dynamic DIR/dynamic.onnx --qdq DIR/qdq_s8.onnx

model.onnx comes from models/everyday/export.py. Every engine stays resident in a process of its own and is asked in
turn, so that drift of the machine hits all. A figure is the median of process CPU time (or wall time), the spread is
p5 to p95, a ratio is the median of the ratios round by round. Ids are random. The limit is all products of the model
at the rate of VPDPBUSD on registers alone, measured in every round. Prints Markdown.

ONNX Runtime runs its dynamic int8 model and OpenVINO a static one with symmetric activations: each engine's fastest.
Needs numpy, onnxruntime 1.31.1, openvino 2026.4.1; --make needs onnx too.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

PINNED = {"onnxruntime": "1.31.1", "openvino": "2026.4.1"}
SHAPES = "1x16,1x32,1x64,1x128,1x256,1x512,8x128,32x128"


def make(fp32, to):
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

    import numpy as np

    class Ids(CalibrationDataReader):
        def __init__(self):
            rng = np.random.default_rng(1)
            self.rows = iter([rng.integers(1000, 28000, (1, 32)) for _ in range(4)])

        def get_next(self):
            ids = next(self.rows, None)
            return None if ids is None else {"input_ids": ids, "attention_mask": np.ones_like(ids)}

    os.makedirs(to, exist_ok=True)
    quantize_dynamic(fp32, f"{to}/dynamic.onnx", per_channel=True, weight_type=QuantType.QInt8)
    graph = onnx.load(fp32, load_external_data=False).graph
    constant = {i.name for i in graph.initializer}
    linear = [n.name for n in graph.node if n.op_type in ("MatMul", "Gemm") and n.input[1] in constant]
    quantize_static(
        fp32, f"{to}/qdq_s8.onnx", Ids(), quant_format=QuantFormat.QDQ, per_channel=True, nodes_to_quantize=linear,
        activation_type=QuantType.QInt8, weight_type=QuantType.QInt8, extra_options={"ActivationSymmetric": True},
    )  # fmt: skip


def serve(engine, model, threads):
    """Answers `<batch>x<length> <repeats>` as `pocketbert bench --interactive` does."""
    import numpy as np

    if engine == "onnxruntime":
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        names, version = {i.name for i in session.get_inputs()}, ort.__version__
        run = lambda feeds: session.run(None, feeds)
    else:
        import openvino as ov

        compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1})
        names, version = {n for i in compiled.inputs for n in i.get_names()}, ov.__version__.split("-")[0]
        run = compiled.create_infer_request().infer
    print(json.dumps({"version": version}), flush=True)
    for line in sys.stdin:
        shape, repeats = line.split()
        ids = np.random.default_rng(0).integers(1000, 28000, tuple(map(int, shape.split("x"))))
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        feeds = {k: v for k, v in feeds.items() if k in names}
        answer = {"wall_ms": [], "cpu_ms": []}
        for _ in range(int(repeats)):
            cpu, wall = time.process_time(), time.perf_counter()
            run(feeds)
            answer["cpu_ms"].append((time.process_time() - cpu) * 1e3)
            answer["wall_ms"].append((time.perf_counter() - wall) * 1e3)
        print(json.dumps(answer), flush=True)


class Engine:
    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.head = json.loads(self.process.stdout.readline())

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def time(self, shape, repeats):
        t = self.ask(f"{shape} {repeats}")
        return {k: statistics.median(t[k]) for k in ("cpu_ms", "wall_ms")}

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


def macs(shape, layers, width, inner):
    """Products of the encoder: linear layers, and attention's two products."""
    sequences, length = map(int, shape.split("x"))
    return layers * sequences * length * (4 * width * width + 2 * width * inner + 2 * length * width)


def cell(values):
    at = lambda p: sorted(values)[int(p * (len(values) - 1))]
    return f"{statistics.median(values):.2f} ({at(0.05):.2f} to {at(0.95):.2f})"


def table(a, threads):
    binary = [a.binary, "bench", a.model, "--interactive", "--threads", str(threads)] + (["--head", a.head] if a.head else [])
    me = [sys.executable, os.path.abspath(__file__), "--threads", str(threads), "--serve"]
    commands = {"ours": binary}
    if a.all_rows:
        commands["all rows"] = binary + ["--all-rows"]
    if a.dynamic:
        commands["onnxruntime"] = me + ["onnxruntime", a.dynamic]
    if a.qdq:
        commands["openvino"] = me + ["openvino", a.qdq]
    engines = {k: Engine(c) for k, c in commands.items()}
    for name, e in engines.items():
        want, have = PINNED.get(name), e.head.get("version")
        if want and want != have:
            print(f"note: {name} is {have}, the figures of the documentation are of {want}")
    clock = "cpu_ms" if threads == 1 else "wall_ms"
    print(f"\n{threads} thread(s), {'CPU' if threads == 1 else 'wall'} ms, {a.rounds} rounds of {a.repeats}; kernel", engines["ours"].head["kernel"])
    head = ["shape"] + list(engines) + [f"{k} / ours" for k in engines if k != "ours"] + ["limit", "ours / limit"]
    head += ["all rows / limit"] if a.all_rows else []
    print("\n| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for shape in a.shapes.split(","):
        for e in engines.values():
            e.time(shape, 1)
        rounds, limits = [], []
        for _ in range(a.rounds):
            peak = engines["ours"].ask("peak").get("peak_gmacs")
            rounds.append({k: e.time(shape, a.repeats)[clock] for k, e in engines.items()})
            limits.append(macs(shape, a.layers, a.width, a.inner) / peak / 1e6 / threads if peak else None)
        columns = {k: [r[k] for r in rounds] for k in engines}
        ratio = lambda x, y: f"{statistics.median(p / q for p, q in zip(x, y)):.2f}"
        line = [shape] + [cell(columns[k]) for k in engines]
        line += [ratio(columns[k], columns["ours"]) for k in engines if k != "ours"]
        line += [f"{statistics.median(limits):.2f}", ratio(columns["ours"], limits)] if limits[0] else ["-", "-"]
        if a.all_rows:
            line.append(ratio(columns["all rows"], limits) if limits[0] else "-")
        print("| " + " | ".join(line) + " |", flush=True)
    for e in engines.values():
        e.stop()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--serve", nargs=2, metavar=("ENGINE", "MODEL"), help=argparse.SUPPRESS)
    p.add_argument("--make", metavar="DIR", help="write dynamic.onnx and qdq_s8.onnx of --fp32 there, and stop")
    p.add_argument("--fp32", help="the FP32 model of --make")
    p.add_argument("--binary", default="target/release/pocketbert")
    p.add_argument("--model", default="models/everyday.pbert")
    p.add_argument("--head", help="our head to compute [default: the bundle's first]")
    p.add_argument("--dynamic", help="dynamic int8 model for ONNX Runtime; without it that engine is left out")
    p.add_argument("--qdq", help="static QDQ model for OpenVINO; without it that engine is left out")
    p.add_argument("--no-all-rows", dest="all_rows", action="store_false", help="leave out our run without skipped rows")
    p.add_argument("--shapes", default=SHAPES)
    p.add_argument("--threads", default="1,2")
    p.add_argument("--rounds", type=int, default=15)
    p.add_argument("--repeats", type=int, default=3)
    p.add_argument("--layers", type=int, default=6)
    p.add_argument("--width", type=int, default=768)
    p.add_argument("--inner", type=int, default=3072)
    a = p.parse_args()
    if a.serve:
        return serve(*a.serve, int(a.threads))
    if a.make:
        return make(a.fp32, a.make)
    info = open("/proc/cpuinfo").read().splitlines()
    name = next((line.split(":")[1].strip() for line in info if line.startswith("model name")), "?")
    flags = next((line for line in info if line.startswith("flags")), "")
    have = [f for f in ("avx2", "avx_vnni", "avx512_vnni", "amx_int8") if f" {f}" in flags]
    print(f"CPU: {name}; {', '.join(have)}; load {os.getloadavg()[0]:.1f}")
    for threads in map(int, a.threads.split(",")):
        table(a, threads)


if __name__ == "__main__":
    main()
