#!/usr/bin/env python3
"""Packs the WordPiece vectors of swift-transformers into `questions.jsonl.gz`.

    pack_questions.py FOLDER OUT_FOLDER

FOLDER holds `question_tokens.json` and `tokenized_questions.json` (from the test resources of
github.com/huggingface/swift-transformers) and a `tokenizer.json` of bert-base-uncased, which is packed too.
One JSON list per line: the question, its tokens joined by spaces, its ids. The same input gives the same bytes.
"""
import gzip
import json
import pathlib
import sys

src, out = map(pathlib.Path, sys.argv[1:])


def pack(name: str, data: bytes) -> None:
    with open(out / name, "wb") as f, gzip.GzipFile("", "wb", 9, f, mtime=0) as z:
        z.write(data)


tokens = json.loads((src / "question_tokens.json").read_text())
ids = json.loads((src / "tokenized_questions.json").read_text())
assert len(tokens) == len(ids) == 10570
lines = [
    json.dumps([t["original"], " ".join(t["wordpiece"]), i], ensure_ascii=False, separators=(",", ":"))
    for t, i in zip(tokens, ids)
]
pack("questions.jsonl.gz", ("\n".join(lines) + "\n").encode())
tok = json.loads((src / "tokenizer.json").read_text())
pack("bert-base-uncased.json.gz", json.dumps(tok, ensure_ascii=False, separators=(",", ":")).encode())
