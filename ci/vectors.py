#!/usr/bin/env python3
"""Embeddings, rerank, fill-mask and zero-shot beside their references, and their quality in FP32 and int8.

    python vectors.py --binary target/release/pocketbert --assets ASSETS --fp32 OUT --bundle models/everyday.pbert

OUT is the folder that models/everyday/export.py wrote (model.onnx, heads.json, tokenizer.json). ASSETS holds
checkpoint/, data/ and tokenizers/; where either is missing this prints SKIPPED. The reference is Hugging Face in
float32 on the same weights: feature extraction with mean pooling, the pipeline `fill-mask`, the formula of the pipeline
`zero-shot-classification`. `fp32` is PocketBERT on OUT/model.onnx, `int8` PocketBERT on the bundle. Fails if FP32
differs from the reference by more than --tolerance. --parts chooses among: embed, fill, zero, sts, rerank, masks, held.

Needs torch, transformers, tokenizers, safetensors, numpy (ci/requirements.txt; torch 2 and transformers 5.23).
"""
import argparse
import csv
import json
import os
import random
import subprocess
import sys
import tempfile

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
HEADS = os.path.join(HERE, "..", "models", "everyday", "heads")
TEMPLATE = "This text is about {}."


def spearman(a, b):
    def rank(x):
        order, r = np.argsort(x, kind="stable"), np.empty(len(x))
        r[order] = np.arange(len(x))
        for v in np.unique(x):
            r[x == v] = r[x == v].mean()
        return r
    return float(np.corrcoef(rank(np.asarray(a)), rank(np.asarray(b)))[0, 1])


class Pocket:
    """The command on one model."""

    def __init__(s, binary, model):
        s.binary, s.model = binary, model

    def lines(s, command, texts, *more):
        with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf8") as f:
            f.write("".join(" ".join(t.split()) + "\n" for t in texts))
            f.flush()
            out = subprocess.run([s.binary, command, "--model", s.model, "--file", f.name, *more], check=True,
                                 capture_output=True, text=True).stdout
        return [json.loads(l) for l in out.splitlines()]

    def embed(s, texts, *more):
        rows = s.lines("embed", texts, "--head", "embed", *more)
        return np.array([np.array(r["values"], np.float32) * np.float32(r.get("scale", 1)) for r in rows])


class Reference:
    """Hugging Face, float32, one thread."""

    def __init__(s, assets):
        import torch
        sys.path.insert(0, HEADS)
        import common
        s.torch, s.common = torch, common
        torch.set_num_threads(1)
        s.m = common.encoder(f"{assets}/checkpoint")
        s.tok = common.tokenizer(f"{assets}/tokenizers/bert-base-cased/tokenizer.json", 512)

    def embed(s, texts):
        torch, out = s.torch, np.zeros((len(texts), 768), np.float32)
        rows = [e.ids for e in s.tok.encode_batch([" ".join(t.split()) for t in texts])]
        for g in s.common.batches([len(r) for r in rows]):
            ids, keep = s.common.pad([rows[i] for i in g])
            with torch.inference_mode():
                h = s.m(input_ids=ids, attention_mask=keep).last_hidden_state
                v = (h * keep[..., None]).sum(1) / keep.sum(1, keepdim=True)
                out[g] = torch.nn.functional.normalize(v, dim=-1).numpy()
        return out

    def masked_model(s):
        """The same weights as transformers' own class, and its pipeline."""
        from safetensors.torch import load_file
        from transformers import DistilBertConfig, DistilBertForMaskedLM, PreTrainedTokenizerFast, pipeline
        model = DistilBertForMaskedLM(DistilBertConfig(vocab_size=28996, n_layers=5)).eval()
        w = {f"distilbert.{k}": v for k, v in s.m.state_dict().items() if "layer.5." not in k}
        w |= {k: v.float() for k, v in load_file(f"{HEADS}/fill_mask.safetensors").items()}
        w["vocab_projector.weight"] = w["distilbert.embeddings.word_embeddings.weight"]
        model.load_state_dict(w)
        fast = PreTrainedTokenizerFast(tokenizer_object=s.tok, mask_token="[MASK]", cls_token="[CLS]", sep_token="[SEP]",
                                       pad_token="[PAD]", unk_token="[UNK]")
        return pipeline("fill-mask", model=model, tokenizer=fast, device="cpu")

    def entail(s, pairs):
        """The two scores of each pair."""
        from safetensors.torch import load_file
        torch, w = s.torch, {k: v.float() for k, v in load_file(f"{HEADS}/entail.safetensors").items()}
        encoded, out = s.tok.encode_batch(pairs), np.zeros((len(pairs), 2), np.float32)
        rows, types = [e.ids for e in encoded], [e.type_ids for e in encoded]
        for g in s.common.batches([len(r) for r in rows]):
            ids, keep = s.common.pad([rows[i] for i in g])
            second = s.common.pad([types[i] for i in g])[0]
            with torch.inference_mode():
                h = s.common.layer5(s.m, ids, keep)
                x = [h[:, 0]] + [(h * k[..., None]).sum(1) / k.sum(1, keepdim=True).clamp(min=1) for k in (keep, second)]
                y = torch.relu(torch.cat(x, 1) @ w["dense.weight"].T + w["dense.bias"])
                out[g] = (y @ w["classifier.weight"].T + w["classifier.bias"]).numpy()
        return out


def softmax(x):
    e = np.exp(np.asarray(x, np.float64) - np.max(x, -1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


class Check:
    def __init__(s, a):
        s.a, s.d, s.failed = a, f"{a.assets}/data", []
        s.models = {"fp32": Pocket(a.binary, a.fp32), "int8": Pocket(a.binary, a.bundle)}
        s.reference = Reference(a.assets)
        rows = [l.rstrip("\n").split("\t") for l in open(f"{s.d}/stsb/sts-test.csv", encoding="utf8")]
        s.sts = [(r[5], r[6], float(r[4])) for r in rows]
        s.clinc = json.load(open(f"{s.d}/clinc150/data_full.json"))

    def largest(s, what, name, difference):
        print(f"{what}, {name}: largest difference {difference:.2e}", flush=True)
        if name == "fp32" and not difference <= s.a.tolerance:
            s.failed.append(what)

    def embed(s):
        texts = [t for r in s.sts[:60] for t in r[:2]]
        want = s.reference.embed(texts)
        for name, p in s.models.items():
            got = p.embed(texts)
            s.largest("embeddings of 120 sentences", name, np.abs(got - want).max())
            print(f"  smallest cosine with the reference {(got * want).sum(1).min():.5f}")

    def fill(s):
        texts = [t for t, _ in s.clinc["test"][::90]] + ["Play some music .", "The film was a very good one ."]
        rng, masked = random.Random(5), []
        for t in texts:
            words = t.split()
            words[rng.randrange(len(words))] = "[MASK]"
            masked.append(" ".join(words))
        want = s.reference.masked_model()(masked, top_k=5)
        for name, p in s.models.items():
            got, worst, same = p.lines("fill-mask", masked, "--head", "fill_mask", "--json"), 0.0, 0
            for g, w in zip(got, want):
                mine = {c["id"]: c["probability"] for c in g["masks"][0]["candidates"]}
                worst = max([worst] + [abs(mine[c["token"]] - c["score"]) for c in w if c["token"] in mine])
                same += [c["id"] for c in g["masks"][0]["candidates"]] == [c["token"] for c in w]
            s.largest(f"fill-mask, probabilities of the first five of {len(masked)} masks", name, worst)
            print(f"  the same five in the same order: {same} of {len(masked)}")
            if name == "fp32" and same < len(masked):
                s.failed.append("fill-mask order")

    def zero(s):
        labels = ["weather", "restaurants", "bank cards", "music", "travel"]
        texts = [t for t, _ in s.clinc["test"][::150]]
        scores = s.reference.entail([(t, TEMPLATE.format(l)) for t in texts for l in labels]).reshape(-1, len(labels), 2)
        for multi, flag in ((False, []), (True, ["--multi-label"])):
            want = softmax(scores)[..., 1] if multi else softmax(scores[..., 1])
            for name, p in s.models.items():
                more = ["--labels", ",".join(labels), "--head", "entail", "--json", *flag]
                got = np.zeros_like(want)
                for i, g in enumerate(p.lines("zero-shot", texts, *more)):
                    for l in g["labels"]:
                        got[i, l["index"]] = l["probability"]
                kind = "each label by itself" if multi else "one label"
                s.largest(f"zero-shot, {kind}, {len(texts)} texts of 5 labels", name, np.abs(got - want).max())

    def similarity(s):
        gold = [g for *_, g in s.sts]
        vectors = {"reference": [s.reference.embed([r[i] for r in s.sts]) for i in (0, 1)]}
        for fmt in ("f32", "f16", "i8"):
            vectors[f"int8, {fmt} vectors"] = [s.models["int8"].embed([r[i] for r in s.sts], "--format", fmt) for i in (0, 1)]
        for name, (x, y) in vectors.items():
            line = []
            for dims in (768, 384, 256, 128, 64):
                a, b = x[:, :dims], y[:, :dims]
                cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
                line.append(f"{dims}: {spearman(cosine, gold):.4f}")
            print(f"STS-B test, Spearman by dimensions, {name}: {', '.join(line)}", flush=True)

    def rerank(s):
        data = json.load(open(f"{s.d}/xquad/xquad.en.json"))["data"]
        paragraphs = [p for a in data for p in a["paragraphs"]]
        questions = [(q["question"], i) for i, p in enumerate(paragraphs) for q in p["qas"]]
        random.Random(8).shuffle(questions)
        questions = questions[: s.a.questions]
        right = np.array([i for _, i in questions])
        order = {}
        for name, embed in (("reference", s.reference.embed), ("int8", s.models["int8"].embed),
                            ("int8, i8 vectors", lambda t: s.models["int8"].embed(t, "--format", "i8"))):
            d, q = embed([p["context"] for p in paragraphs]), embed([t for t, _ in questions])
            order[name] = np.argsort(-(q @ d.T), axis=1, kind="stable")
            place = (order[name] == right[:, None]).argmax(1)
            ndcg = np.where(place < 10, 1 / np.log2(place + 2), 0).mean()
            recall = ", ".join(f"recall@{k} {(place < k).mean():.3f}" for k in (1, 5, 10))
            print(f"XQuAD, {len(questions)} questions, {len(paragraphs)} paragraphs, {name}: {recall}, nDCG@10 {ndcg:.4f}")
        gain = 1 / np.log2(np.arange(10) + 2)
        for name in ("int8", "int8, i8 vectors"):
            top = [order[n][:, :10] for n in ("reference", name)]
            shared = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(*top)])
            # The reference's ten as the relevant ones, worth what their place there is worth.
            dcg = [sum(gain[i] * gain[list(a).index(x)] for i, x in enumerate(b) if x in a) for a, b in zip(*top)]
            print(f"  {name} beside the reference: {shared:.4f} of its first ten found again, "
                  f"nDCG@10 by its order {np.mean(dcg) / (gain**2).sum():.4f}", flush=True)

    def masks(s):
        """Top-5 of one mask in each held-out text."""
        import train_fill_mask as recipe
        train, test = recipe.texts(s.d)
        counts = np.zeros(28996)
        for some in train.values():
            for e in s.reference.tok.encode_batch(some):
                np.add.at(counts, e.ids[1:-1], 1)
        frequent, rng, masked, right = set(np.argsort(-counts)[:5]), random.Random(9), [], []
        for some in test.values():
            for t in random.Random(1).sample(some, min(s.a.masks, len(some))):
                words = t.split()[:80]
                # A word that is one token, alone as in its text.
                one = [i for i, w in enumerate(words) if len(s.reference.tok.encode(w).ids) == 3]
                if len(words) > 2 and one:
                    i = rng.choice(one)
                    right.append(s.reference.tok.encode(words[i]).ids[1])
                    masked.append(" ".join(words[:i] + ["[MASK]"] + words[i + 1:]))
        print(f"one masked word in {len(masked)} held-out texts: five most frequent tokens "
              f"{np.mean([r in frequent for r in right]):.4f}")
        found = {"reference": [[c["token"] for c in r] for r in s.reference.masked_model()(masked, top_k=5)]}
        rows = s.models["int8"].lines("fill-mask", masked, "--head", "fill_mask", "--json")
        found["int8"] = [[c["id"] for c in r["masks"][0]["candidates"]] for r in rows]
        for name, five in found.items():
            print(f"  {name}: top-5 {np.mean([r in f for r, f in zip(right, five)]):.4f}, "
                  f"top-1 {np.mean([r == f[0] for r, f in zip(right, five)]):.4f}", flush=True)

    def held(s):
        """Zero-shot on labels that were held out of training."""
        import train_entail as recipe
        for source, (_, test, held) in recipe.read(s.d).items():
            some = recipe.judged(test, held, s.a.texts)
            labels = [recipe.words(l) for l in held]
            y = np.array([held.index(l) for _, l in some])
            line = f"{source}, {len(some)} texts of {len(held)} labels never seen: chance {1 / len(held):.3f}"
            near = s.reference.embed([t for t, _ in some]) @ s.reference.embed(labels).T
            line += f", embeddings {(near.argmax(1) == y).mean():.3f}"
            fp32 = s.reference.entail([(t, TEMPLATE.format(l)) for t, _ in some for l in labels])[:, 1]
            line += f", entailment FP32 {(fp32.reshape(len(some), -1).argmax(1) == y).mean():.3f}"
            rows = s.models["int8"].lines("zero-shot", [t for t, _ in some], "--labels", ",".join(labels), "--head",
                                          "entail", "--json", "--top-k", "1")
            line += f", int8 {np.mean([r['labels'][0]['index'] == k for r, k in zip(rows, y)]):.3f}"
            print(line, flush=True)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("binary", "assets", "fp32", "bundle"):
        ap.add_argument(f"--{name}", required=True)
    ap.add_argument("--parts", default="embed,fill,zero,sts,rerank,masks,held")
    ap.add_argument("--tolerance", type=float, default=2e-5)
    ap.add_argument("--questions", type=int, default=300)
    ap.add_argument("--masks", type=int, default=100, help="held-out texts of each source")
    ap.add_argument("--texts", type=int, default=10, help="texts of each held-out label")
    a = ap.parse_args()
    for path in (f"{a.assets}/checkpoint/model.safetensors", f"{a.fp32}/model.onnx", a.bundle):
        if not os.path.exists(path):
            print(f"SKIPPED: {path} is not here")
            return
    # Labels for the plain ONNX model, as a hub folder has them.
    heads = json.load(open(f"{a.fp32}/heads.json"))["heads"]
    labels = next((h["labels"] for h in heads if h["name"] == "entail"), [])
    json.dump({"id2label": dict(enumerate(labels))}, open(f"{a.fp32}/config.json", "w"))
    check = Check(a)
    parts = {"embed": check.embed, "fill": check.fill, "zero": check.zero, "sts": check.similarity,
             "rerank": check.rerank, "masks": check.masks, "held": check.held}
    for name in a.parts.split(","):
        parts[name]()
    if check.failed:
        sys.exit(f"differs from the reference: {', '.join(check.failed)}")


if __name__ == "__main__":
    main()
