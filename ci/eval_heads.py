#!/usr/bin/env python3
"""Quality of the default bundle, head by head, beside the FP32 model it came from.

    python eval_heads.py --binary target/release/pocketbert --assets ASSETS [--models NAME=PATH …] [--onnx FP32.onnx]

ASSETS holds data/ and tokenizers/ (not in the repository; prints SKIPPED without it). Every NAME=PATH is run by
`pocketbert run` on token ids; --onnx adds ONNX Runtime on the FP32 model (one thread, basic optimisations) as the
reference for label flips and KL. The splits are those that the checkpoint was trained and judged with. Texts are
cut at 128 tokens, questions with their paragraphs at 320.

Prints Markdown; --json FILE writes the same figures. Needs numpy, tokenizers, onnxruntime (only for --onnx).
"""
import argparse
import collections
import csv
import json
import os
import random
import string
import subprocess
import sys
import tempfile

import numpy as np
from bio import spans


def tsv(path):
    return [l.rstrip("\n").rsplit("\t", 1) for l in open(path, encoding="utf8")]


class Data:
    def __init__(s, assets, limit):
        from tokenizers import Tokenizer
        s.d = assets + "/data/"
        s.tok = Tokenizer.from_file(assets + "/tokenizers/bert-base-cased/tokenizer.json")
        s.tok.no_padding()
        s.limit = limit

    def enc(s, *text, length=128):
        s.tok.enable_truncation(length)
        return s.tok.encode(*text)

    def classification(s):
        d = s.d
        for split in ("dev", "test"):
            yield "sentiment", f"SST-2 {split}", [(s.enc(t).ids, int(y)) for t, y in tsv(f"{d}sst2/{split}.tsv")[: s.limit]]
        c = json.load(open(d + "clinc150/data_full.json"))
        labels = sorted({y for _, y in c["train"]}) + ["oos"]
        ix = {y: i for i, y in enumerate(labels)}
        for split, keys in (("val", ("val", "oos_val")), ("test", ("test", "oos_test"))):
            rows = [r for k in keys for r in c[k]]
            random.Random(0).shuffle(rows)
            yield "intent", f"CLINC {split}", [(s.enc(t).ids, ix[y]) for t, y in rows[: s.limit]]
        sms = [l.rstrip("\n").split("\t", 1) for l in open(d + "sms_spam/sms.tsv", encoding="utf8") if "\t" in l]
        random.Random(3).shuffle(sms)
        yield "spam", "SMS dev+test", [(s.enc(t).ids, int(y.startswith("spam"))) for y, t in sms[:1000][: s.limit]]
        dv = [(r["tweet"], int(r["class"])) for r in csv.DictReader(open(d + "davidson/labeled_data.csv", encoding="utf8"))]
        random.Random(4).shuffle(dv)
        yield "moderation", "Davidson dev+test", [(s.enc(t).ids, y) for t, y in dv[:3000][: s.limit]]

    def tagging(s):
        def conll(f):
            out, words, tags = [], [], []
            for l in open(s.d + "wnut17/" + f, encoding="utf8"):
                p = l.rstrip("\n").split("\t")
                if len(p) < 2 or not p[0].strip():
                    if words:
                        out.append((words, tags))
                    words, tags = [], []
                else:
                    words.append(p[0])
                    tags.append(p[1].strip() or "O")
            return out + ([(words, tags)] if words else [])

        yield "entities", "WNUT-17 dev", conll("emerging.dev.conll")[: s.limit]
        yield "entities", "WNUT-17 test", conll("emerging.test.annotated")[: s.limit]
        rows = []
        for intent in ("AddToPlaylist", "BookRestaurant", "GetWeather", "PlayMusic", "RateBook", "SearchCreativeWork",
                       "SearchScreeningEvent"):
            for r in json.load(open(f"{s.d}snips/validate_{intent}.json", encoding="latin-1"))[intent]:
                words, tags = [], []
                for seg in r["data"]:
                    for k, w in enumerate(seg["text"].split()):
                        words.append(w)
                        tags.append("O" if "entity" not in seg else ("B-" if k == 0 else "I-") + seg["entity"])
                if words:
                    rows.append((words, tags))
        yield "slots", "SNIPS test", rows[: s.limit]

    def answers(s):
        arts = json.load(open(s.d + "xquad/xquad.en.json"))["data"]
        random.Random(6).shuffle(arts)
        for name, part in (("XQuAD test", arts[:7]), ("XQuAD dev", arts[7:10])):
            rows = [(q["question"], p["context"], q["answers"]) for a in part for p in a["paragraphs"] for q in p["qas"]]
            yield "answer", name, rows[: s.limit]

    def similarity(s):
        for split in ("dev", "test"):
            rows = [l.rstrip("\n").split("\t") for l in open(f"{s.d}stsb/sts-{split}.csv", encoding="utf8")]
            yield "embed", f"STS-B {split}", [(p[5], p[6], float(p[4])) for p in rows][: s.limit]


def run_binary(binary, model, ids):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as f:
        for row in ids:
            f.write(json.dumps({"ids": [row]}) + "\n")
        f.flush()
        p = subprocess.run([binary, "run", model, "--input", f.name, "--batch", "16"], capture_output=True, text=True)
        if p.returncode:
            sys.exit(f"pocketbert run failed: {p.stderr}")
    out = []
    for line in p.stdout.splitlines():
        o = json.loads(line)["outputs"]
        out.append({k: np.array(v["data"], np.float32).reshape(v["shape"])[0] for k, v in o.items()})
    if len(out) != len(ids):
        sys.exit(f"pocketbert run answered {len(out)} of {len(ids)} inputs of {model}")
    return out


def run_ort(path, ids):
    import onnxruntime as ort
    so = ort.SessionOptions()
    so.intra_op_num_threads = 1
    so.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    sess = ort.InferenceSession(path, so, providers=["CPUExecutionProvider"])
    # Only what is judged here: the scores of a vocabulary for every token would take most of the time.
    names = [o.name for o in sess.get_outputs() if o.name not in ("fill_mask", "entail")]
    types = any(i.name == "token_type_ids" for i in sess.get_inputs())
    out = []
    for row in ids:
        x = np.array([row], np.int64)
        feed = {"input_ids": x, "attention_mask": np.ones_like(x)} | ({"token_type_ids": np.zeros_like(x)} if types else {})
        out.append({n: v[0] for n, v in zip(names, sess.run(names, feed))})
    return out


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def kl(p, q):
    p, q = softmax(p.astype(np.float64)), softmax(q.astype(np.float64))
    return float((p * (np.log(p + 1e-12) - np.log(q + 1e-12))).sum(-1).mean())


def best_span(logits, inside, longest=30):
    """First and last token of the best answer inside the paragraph, at most `longest` tokens."""
    if not inside:
        return 0, 0
    lo, hi = inside[0], inside[-1] + 1
    score = logits[lo:hi, 0][:, None] + logits[lo:hi, 1][None, :]
    score = np.where(np.tri(hi - lo, k=-1) + np.tri(hi - lo, k=-longest).T > 0, -np.inf, score)
    i, j = divmod(int(score.argmax()), hi - lo)
    return lo + i, lo + j


def plain(text):
    """As SQuAD's own script compares: lower case, no punctuation, no articles, single spaces."""
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(w for w in text.split() if w not in ("a", "an", "the"))


def overlap(got, want):
    got, want = plain(got).split(), plain(want).split()
    same = sum((collections.Counter(got) & collections.Counter(want)).values())
    return 2 * same / (len(got) + len(want)) if same else float(got == want)


def ranks(x):
    """Ranks from 0; equal values share the mean of theirs."""
    _, inverse, count = np.unique(np.array(x), return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count + 1) / 2)[inverse]


def spearman(a, b):
    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--binary", default="target/release/pocketbert")
    ap.add_argument("--assets", required=True)
    ap.add_argument("--models", nargs="*", default=[], metavar="NAME=PATH")
    ap.add_argument("--onnx")
    ap.add_argument("--heads", default="sentiment,intent,spam,moderation,entities,slots,answer,embed")
    ap.add_argument("--limit", type=int)
    ap.add_argument("--json")
    a = ap.parse_args()
    if not os.path.isdir(a.assets + "/data"):
        print("SKIPPED: no data at", a.assets)
        return
    if not a.models and not a.onnx:
        ap.error("give --models, --onnx or both")
    data = Data(a.assets, a.limit)
    wanted = a.heads.split(",")
    engines = ([("ONNX Runtime FP32", None)] if a.onnx else []) + [tuple(m.split("=", 1)) for m in a.models]
    answer_of = lambda path, ids: run_ort(a.onnx, ids) if path is None else run_binary(a.binary, path, ids)
    rows = []

    def emit(head, name, n, metric, results):
        """results: engine -> (quality, predictions, logits)"""
        base = next(iter(results.values()))
        for e, (quality, pred, logits) in results.items():
            flips = sum(int(np.any(x != y)) for x, y in zip(pred, base[1])) if pred is not None else None
            total = sum(np.size(x) for x in pred) if pred is not None else None
            diff = sum(int(np.sum(np.asarray(x) != np.asarray(y))) for x, y in zip(pred, base[1])) if pred is not None else None
            k = np.mean([kl(b, x) for b, x in zip(base[2], logits)]) if logits is not None else None
            rows.append({"head": head, "set": name, "n": n, "engine": e, "metric": metric, "value": quality,
                         "flips": diff, "of": total, "texts_changed": flips, "kl": k})
            fl = "" if diff is None else f"{diff}/{total} ({100 * diff / total:.2f} %)"
            print(f"| {head} | {name} ({n}) | {e} | {metric} {quality:.2f} | {fl} | {'' if k is None else f'{k:.1e}'} |", flush=True)

    print("| head | set | engine | quality | flips against the first engine | mean KL |\n|---|---|---|---|---|---|")
    for head, name, items in data.classification():
        if head in wanted:
            res = {}
            for e, path in engines:
                out = [o[head] for o in answer_of(path, [i for i, _ in items])]
                pred = [int(o.argmax()) for o in out]
                res[e] = (100 * np.mean([p == y for p, (_, y) in zip(pred, items)]), pred, out)
            emit(head, name, len(items), "accuracy", res)
    labels = {k: v.get("labels", []) for k, v in json.load(open(a.assets + "/checkpoint/heads.json"))["heads"].items()}
    for head, name, items in data.tagging():
        if head in wanted:
            data.tok.enable_truncation(128)
            encs = [data.tok.encode(w, is_pretokenized=True) for w, _ in items]
            # Position of each word's first sub-token. A word can have none (a variation selector alone), or be cut off.
            first, gold = [], []
            for e, (_, tags) in zip(encs, items):
                at = {}
                for i, w in enumerate(e.word_ids):
                    if w is not None:
                        at.setdefault(w, i)
                first.append(list(at.values()))
                gold.append([tags[w] for w in at])
            res = {}
            for e, path in engines:
                out = [o[head][ix] for o, ix in zip(answer_of(path, [x.ids for x in encs]), first)]
                pred = [o.argmax(-1) for o in out]
                tp = got = want = 0
                for p, t in zip(pred, gold):
                    g, w = spans([labels[head][i] for i in p]), spans(t)
                    tp, got, want = tp + len(g & w), got + len(g), want + len(w)
                res[e] = (200 * tp / max(1, got + want), pred, out)
            emit(head, name, len(items), "span F1", res)
    if "answer" in wanted:
        for head, name, items in data.answers():
            encs = [data.enc(q, c, length=320) for q, c, _ in items]
            res, res_f1 = {}, {}
            for e, path in engines:
                pred, em, f1 = [], 0, 0.0
                for o, x, (_, context, ans) in zip(answer_of(path, [x.ids for x in encs]), encs, items):
                    span = best_span(o[head], [i for i, s in enumerate(x.sequence_ids) if s == 1])
                    text = context[x.offsets[span[0]][0]: x.offsets[span[1]][1]]
                    pred.append(np.array([span[0] * len(x.ids) + span[1]]))
                    em += any(plain(text) == plain(y["text"]) for y in ans)
                    f1 += max(overlap(text, y["text"]) for y in ans)
                res[e] = (100 * em / len(items), pred, None)
                res_f1[e] = (100 * f1 / len(items), None, None)
            emit(head, name, len(items), "exact match", res)
            emit(head, name, len(items), "F1", res_f1)
    if "embed" in wanted:
        for head, name, items in data.similarity():
            res = {}
            for e, path in engines:
                va = [o[head] for o in answer_of(path, [data.enc(x).ids for x, _, _ in items])]
                vb = [o[head] for o in answer_of(path, [data.enc(y).ids for _, y, _ in items])]
                res[e] = (100 * spearman([float(x @ y) for x, y in zip(va, vb)], [s for _, _, s in items]), None, None)
            emit(head, name, len(items), "Spearman", res)
    if a.json:
        json.dump(rows, open(a.json, "w"), indent=1, default=float)


if __name__ == "__main__":
    main()
