#!/usr/bin/env python3
"""Trains the head `entail` on the frozen encoder, and judges it on labels that it never saw.

    python train_entail.py --checkpoint CHECKPOINT --tokenizer TOKENIZER.json --data DATA --out entail.safetensors

Pairs of a text and a sentence about it are made from the label names of CLINC 150 and Banking 77: the text's own
label is entailed, others are not. 30 of CLINC's labels and 17 of Banking's, with all their texts, are held out. Such
a head knows requests and topics; it is no natural-language-inference model.

The head reads the fifth layer: the first token, the mean over all tokens and the mean over the second segment, then
768 * 3 to 256, ReLU, to two scores (not entailed, entailed). The encoder is frozen, so these rows are computed once
(bfloat16). Seeded; one thread; about ten minutes. Writes the head (f16, 1.2 MB) and prints the figures.
"""
import argparse
import csv
import json
import random
import time

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from common import batches, encoder, layer5, pad, tokenizer

TEMPLATE = "This text is about {}."
TEMPLATES = [TEMPLATE, TEMPLATE, "{}", "{}", "This example is {}.", "The request is: {}."]
HELD_OUT = {"clinc150": 30, "banking77": 17}


def words(label):
    return label.replace("_", " ").replace("?", "").strip().lower()


def read(data):
    """By source: training and test texts with labels, and the labels held out."""
    clinc = json.load(open(f"{data}/clinc150/data_full.json"))

    def banking(part):
        return [(r["text"], r["category"]) for r in csv.DictReader(open(f"{data}/banking77/{part}.csv"))]

    rng, out = random.Random(21), {}
    for name, train, test in (("clinc150", clinc["train"], clinc["test"]),
                              ("banking77", banking("train"), banking("test"))):
        labels = sorted({y for _, y in train})
        rng.shuffle(labels)
        out[name] = ([tuple(p) for p in train], [tuple(p) for p in test], sorted(labels[:HELD_OUT[name]]))
    return out


def judged(test, held, each=10):
    """The first texts of each label that was held out."""
    return [(t, y) for y in held for t in [t for t, own in test if own == y][:each]]


def vectors(m, tok, texts):
    """Mean of the last layer at unit length: the checkpoint's own `embed`."""
    out, rows = torch.zeros(len(texts), 768), [e.ids for e in tok.encode_batch(texts)]
    for g in batches([len(r) for r in rows]):
        ids, keep = pad([rows[j] for j in g])
        with torch.inference_mode():
            h = m(input_ids=ids, attention_mask=keep).last_hidden_state.float()
        out[g] = F.normalize((h * keep[..., None]).sum(1) / keep.sum(1, keepdim=True), dim=-1)
    return out


def features(m, tok, pairs):
    """First token, mean of all, mean of the second segment (its separator included): 2304 numbers."""
    encoded = tok.encode_batch(pairs)
    out = torch.zeros(len(pairs), 3 * 768, dtype=torch.float16)
    rows, types = [e.ids for e in encoded], [e.type_ids for e in encoded]
    for g in batches([len(r) for r in rows]):
        ids, keep = pad([rows[j] for j in g])
        second = pad([types[j] for j in g])[0]
        with torch.inference_mode():
            h = layer5(m, ids, keep).float()

        def mean(k):
            return (h * k[..., None]).sum(1) / k.sum(1, keepdim=True).clamp(min=1)

        out[g] = torch.cat([h[:, 0], mean(keep), mean(second)], 1).half()
    return out


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("checkpoint", "tokenizer", "data", "out"):
        ap.add_argument(f"--{name}", required=True)
    ap.add_argument("--texts", type=int, default=2500, help="most texts of each source")
    ap.add_argument("--epochs", type=int, default=6)
    a = ap.parse_args()
    torch.set_num_threads(1), torch.manual_seed(21)
    rng, start = random.Random(22), time.time()
    tok, m = tokenizer(a.tokenizer, 128), encoder(a.checkpoint).bfloat16()
    data = read(a.data)

    pairs = []
    for name, (train, _, held) in data.items():
        train = [(t, y) for t, y in train if y not in held]
        labels = sorted({y for _, y in train})
        rng.shuffle(train)
        train = train[:a.texts]
        near = vectors(m, tok, [t for t, _ in train]) @ vectors(m, tok, [words(l) for l in labels]).T
        for row, (text, own) in zip(near, train):
            # One right sentence, two with labels that look right to `embed`, two with any.
            hard = [labels[j] for j in row.topk(9).indices if labels[j] != own]
            template = rng.choice(TEMPLATES)
            for l in [own, *rng.sample(hard, 2), *rng.sample([l for l in labels if l != own], 2)]:
                pairs.append((text, template.format(words(l))))
    print(f"{len(pairs)} pairs", flush=True)
    x = features(m, tok, pairs)
    mean, spread = x.float().mean(0), x.float().std(0) + 1e-3
    x = x.view(-1, 5, 2304)
    print(f"rows after {time.time() - start:.0f} s", flush=True)

    net = torch.nn.Sequential(torch.nn.Dropout(0.2), torch.nn.Linear(2304, 256), torch.nn.ReLU(),
                              torch.nn.Dropout(0.2), torch.nn.Linear(256, 2))
    opt = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.05)
    right = torch.tensor([1, 0, 0, 0, 0])
    steps, step = a.epochs * (len(x) // 64), 0
    for _ in range(a.epochs):
        for i in torch.randperm(len(x))[:len(x) // 64 * 64].split(64):
            opt.param_groups[0]["lr"] = 1e-3 * (1 - step / steps)
            out = net((x[i].float() - mean) / spread)
            # The right sentence against the others, and each sentence by itself.
            loss = F.cross_entropy(out[..., 1], torch.zeros(len(i), dtype=torch.long))
            loss = loss + F.cross_entropy(out.flatten(0, 1), right.repeat(len(i)))
            opt.zero_grad()
            loss.backward()
            opt.step()
            step += 1
    print(f"loss {loss.item():.3f}, {time.time() - start:.0f} s", flush=True)
    # The standardisation goes into the first layer.
    first, last = net[1], net[4]
    w = {"dense.weight": first.weight / spread, "dense.bias": first.bias - (first.weight / spread) @ mean,
         "classifier.weight": last.weight, "classifier.bias": last.bias}
    w = {k: v.detach().half().contiguous() for k, v in w.items()}
    save_file(w, a.out)

    f = {k: v.float() for k, v in w.items()}
    for name, (_, test, held) in data.items():
        some = judged(test, held)
        y = torch.tensor([held.index(l) for _, l in some])
        near = vectors(m, tok, [t for t, _ in some]) @ vectors(m, tok, [words(l) for l in held]).T
        line = f"{name}, {len(some)} texts of {len(held)} labels never seen: chance {1 / len(held):.3f}, "
        line += f"embeddings {(near.argmax(1) == y).float().mean():.3f}"
        for template in (TEMPLATE,):
            x = features(m, tok, [(t, template.format(words(l))) for t, _ in some for l in held]).float()
            h = F.relu(x @ f["dense.weight"].T + f["dense.bias"])
            s = (h @ f["classifier.weight"].T + f["classifier.bias"])[:, 1].view(len(some), -1)
            line += f", entailment `{template}` {(s.argmax(1) == y).float().mean():.3f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
