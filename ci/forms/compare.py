#!/usr/bin/env python3
"""Compares the engine with ONNX Runtime on every model of a folder, over real sentences.

Usage: compare.py --binary POCKETBERT --models DIR --assets ASSETS [--sentences 500] [--only TEXT]
       compare.py --matrix TABLE...

DIR holds <form>@<cell>.onnx (ci/forms/make.py writes them). For each model three runs over the same
token ids: ONNX Runtime with basic optimisations (the reference), ONNX Runtime with all of them and
with its own integer kernels (what it does to its own answer), and one process of the engine.
Printed per model, as Markdown: largest and median absolute error of the logits and share of equal
arg-max, ours against the reference and ONNX Runtime against itself; for dynamic models also both
scalings' distance to fp32. --matrix prints form x graph from such tables.

Bars: fp32 and float fused forms: error at most 1e-4; fp16: at most 2e-3. int8: arg-max equal for at
least 99.9 % and median error at most 1e-3. With basic optimisations ONNX Runtime computes a static
QDQ graph in float32 from dequantised values, where the engine (and its own integer kernels) sum
integers exactly: what lies within a rounding error of a tie falls the other way, and every layer
after it amplifies that. So an int8 row that misses its bar is TAIL, not FAIL, if ONNX Runtime turns
at least as many of its own answers; ci/forms/recorded.py judges the operators one by one.
Exit status 1 on any failure.
"""

import argparse
import csv
import glob
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer

BASIC = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
FULL = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
# The largest error allowed to forms that compute in float.
FLOAT_LIMITS = {"fp32": 1e-4, "fused": 1e-4, "ort": 1e-4, "fp16": 2e-3}


def options(doc, folder, sentences):
    """The arguments that the comparing scripts share; `folder` names the one that holds models."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", help="target/release/pocketbert")
    parser.add_argument(f"--{folder}", help="folder of models")
    parser.add_argument("--assets", help="folder with data and tokenizers")
    parser.add_argument("--sentences", type=int, default=sentences)
    parser.add_argument("--only", default="", help="part of a model's name")
    return parser


def checkpoint_rows(args):
    """Token ids of the sentences by the checkpoint's tokenizer."""
    tokenizer = os.path.join(args.assets, "tokenizers", "bert-base-cased", "tokenizer.json")
    return rows_of(tokenizer, sentences(args.assets, args.sentences))


def sentences(assets, count):
    """`count` different sentences, a third each of CLINC150's validation part, SNIPS and SMS spam."""
    data = os.path.join(assets, "data")
    with open(os.path.join(data, "clinc150", "data_full.json")) as file:
        parts = [[text for text, _ in json.load(file)["val"]]]
    for name in ("snips", "sms_spam"):
        parts.append(texts_of(os.path.join(data, name)))
    out = []
    for part in parts:
        part = sorted({t for t in part if t.strip()})
        need = -(-count // len(parts))
        out += part[:: max(1, len(part) // need)][:need]
    if len(out) < count:
        raise SystemExit(f"only {len(out)} sentences below {data}")
    return out[:count]


def texts_of(folder):
    out = []
    for path in sorted(glob.glob(os.path.join(folder, "**", "*"), recursive=True)):
        if path.endswith(".json"):
            with open(path, encoding="utf-8", errors="replace") as file:
                for rows in json.load(file).values():
                    for row in rows if isinstance(rows, list) else []:
                        if isinstance(row, dict) and "data" in row:
                            out.append("".join(piece["text"] for piece in row["data"]))
        elif path.endswith((".csv", ".tsv", "SMSSpamCollection")):
            with open(path, encoding="utf-8", errors="replace", newline="") as file:
                for row in csv.reader(file, delimiter="," if path.endswith(".csv") else "\t", quoting=csv.QUOTE_MINIMAL):
                    out.append(max(row, key=len) if row else "")
    return out


def rows_of(tokenizer, texts, fixed=None):
    tok = Tokenizer.from_file(tokenizer)
    tok.no_padding()
    tok.enable_truncation(fixed or 128)
    return [tok.encode(text).ids for text in texts]


def feed(session, rows):
    """The inputs of rows of one length; a graph with a fixed length gets padding behind a zero mask."""
    shape = session.get_inputs()[0].shape
    width = shape[1] if isinstance(shape[1], int) else len(rows[0])
    rows = [row[:width] for row in rows]
    ids = np.array([row + [0] * (width - len(row)) for row in rows])
    mask = np.array([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    values = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    return {i.name: values[i.name] for i in session.get_inputs()}


def session_of(path, level):
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.graph_optimization_level = level
    settings.log_severity_level = 3
    if level == FULL:
        # Signed QDQ by integer kernels, as ONNX Runtime does on ARM; on x86-64 it does not by default.
        settings.add_session_config_entry("session.qdqisint8allowed", "1")
    return ort.InferenceSession(path, settings, providers=["CPUExecutionProvider"])


def reference(path, rows, level, output=None, batch=1):
    """ONNX Runtime's answers: one array per row, in float32.

    With `batch`, that many rows of one length run together: static forms answer each as alone, and tables
    that are dequantised in every run cost less. Dynamic forms would not: one scale is for the whole batch.
    """
    session = session_of(path, level)
    output = output or session.get_outputs()[0].name
    if isinstance(session.get_inputs()[0].shape[0], int):
        batch = 1
    out = [None] * len(rows)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    while order:
        part = [i for i in order[:batch] if len(rows[i]) == len(rows[order[0]])]
        order = order[len(part) :]
        values = session.run([output], feed(session, [rows[i] for i in part]))[0].astype(np.float32)
        for i, value in zip(part, values, strict=True):
            out[i] = value[: len(rows[i])] if value.ndim > 1 else value
    return output, out


def ours(binary, path, rows, output, *flags):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        for row in rows:
            file.write(json.dumps({"ids": [row]}) + "\n")
        file.flush()
        done = subprocess.run([binary, "run", path, "--input", file.name, *flags], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip()[:300] or f"exit status {done.returncode}")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    if len(lines) != len(rows):
        raise RuntimeError(f"{len(lines)} answers to {len(rows)} lines")
    out = []
    for line in lines:
        value = line["outputs"][output]
        out.append(np.array(value["data"], np.float32).reshape(value["shape"])[0])
    return out


class Distance:
    """Largest and median absolute error and arg-max agreement of two lists of arrays."""

    def __init__(self, a, b):
        if any(x.shape != y.shape for x, y in zip(a, b, strict=True)):
            raise RuntimeError("the shapes differ")
        error = np.concatenate([np.abs(x - y).ravel() for x, y in zip(a, b)])
        self.max, self.median = float(error.max()), float(np.median(error))
        if not np.isfinite(error).all():
            self.max = self.median = float("inf")
        same = np.concatenate([np.atleast_1d(x.argmax(-1) == y.argmax(-1)).ravel() for x, y in zip(a, b)])
        self.turned, self.count = int((~same).sum()), same.size

    def __str__(self):
        agree = 100 * (1 - self.turned / self.count)
        return f"{self.max:.1e} | {self.median:.1e} | {agree:.2f} %"


def judge(form, mine, itself):
    """(verdict, remark)"""
    if form in FLOAT_LIMITS:
        return "PASS" if mine.max <= FLOAT_LIMITS[form] else "FAIL", ""
    if mine.turned <= 0.001 * mine.count and mine.median <= 1e-3:
        return "PASS", ""
    counts = f"arg-max turned: {mine.turned} of {mine.count}, by ONNX Runtime itself {itself.turned}"
    tail = mine.turned <= itself.turned and mine.median <= max(1e-3, itself.median)
    return "TAIL" if tail else "FAIL", counts


def compare(binary, path, form, rows, plain):
    """(verdict, the row's cells)"""
    dynamic = "dyn" in form
    batch = 1 if dynamic else 16
    output, basic = reference(path, rows, BASIC, batch=batch)
    _, full = reference(path, rows, FULL, batch=batch)
    itself = Distance(full, basic)
    mine_rows = ours(binary, path, rows, output, *(["--reference-semantics"] if dynamic else []))
    mine = Distance(mine_rows, basic)
    verdict, remark = judge(form, mine, itself)
    if dynamic and plain:
        token = Distance(ours(binary, path, rows, output), plain)
        tensor = Distance(mine_rows, plain)
        remark += f" median to fp32: per token {token.median:.1e}, per tensor {tensor.median:.1e}"
    return verdict, f"{mine} | {itself} | {verdict} | {remark.strip()}"


def matrix(paths):
    """Form x graph from the tables that this script printed."""
    rows = []
    for path in paths:
        with open(path) as file:
            rows += [[c.strip() for c in line.split("|")[1:-1]] for line in file if line.count("|") == 11]
    verdicts = {(r[0], r[1]): r[8] or r[2] for r in rows if r[0] not in ("Form", "---")}
    forms, cells = (list(dict.fromkeys(key[i] for key in verdicts)) for i in (0, 1))
    print("\n| |", " | ".join(cells), "|\n|" + "---|" * (len(cells) + 1))
    for form in forms:
        print(f"| {form} |", " | ".join(verdicts.get((form, cell), "not run") for cell in cells), "|")


def main():
    parser = options(__doc__, "models", 500)
    parser.add_argument("--matrix", nargs="+", metavar="TABLE")
    args = parser.parse_args()
    if args.matrix:
        return matrix(args.matrix)
    all_rows = checkpoint_rows(args)
    print(f"{len(all_rows)} sentences, {sum(map(len, all_rows))} tokens\n")
    print("| Form | Graph | max | median | arg-max | ORT: max | ORT: median | ORT: arg-max | | |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    verdicts = []
    paths = sorted(glob.glob(os.path.join(args.models, "*@*.onnx")), key=lambda p: os.path.basename(p).split("@")[::-1])
    plain = {}
    for path in paths:
        form, cell = os.path.basename(path)[:-5].split("@")
        if args.only not in os.path.basename(path):
            continue
        # A graph with fixed axes takes exactly 32 tokens and gets only rows of that length: the engine pads nothing.
        rows = all_rows
        if cell.endswith("-fixed"):
            rows = [(row * 8)[:31] + [102] for row in all_rows]
        if cell not in plain:
            float_path = os.path.join(args.models, f"fp32@{cell}.onnx")
            plain[cell] = reference(float_path, rows, BASIC, batch=16)[1] if os.path.exists(float_path) else None
        try:
            verdict, text = compare(args.binary, path, form, rows, plain[cell])
        except Exception as error:  # a model that does not open is a failed row, not the end of the table
            verdict, text = "FAIL", f" | | | | | | FAIL | {type(error).__name__}: {error}"
        verdicts.append(verdict)
        print(f"| {form} | {cell} | {text} |".replace("\n", " "), flush=True)
    reasons = os.path.join(args.models, "not_made.json")
    if os.path.exists(reasons):
        with open(reasons) as file:
            for name, reason in json.load(file).items():
                form, cell = name.split("@")
                if args.only in f"{name}.onnx":
                    print(f"| {form} | {cell} | | | | | | | not run | {reason.splitlines()[0]} |")
    counts = ", ".join(f"{verdicts.count(v)} {v}" for v in ("PASS", "TAIL", "FAIL"))
    print(f"\n{len(verdicts)} models: {counts}")
    sys.exit(1 if "FAIL" in verdicts or not verdicts else 0)


if __name__ == "__main__":
    main()
