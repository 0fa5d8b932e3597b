#!/usr/bin/env python3
"""Trains the head `fill_mask` on the frozen encoder, and measures it.

    python train_fill_mask.py --checkpoint CHECKPOINT --tokenizer TOKENIZER.json --data DATA --out fill_mask.safetensors

The shape is Hugging Face's DistilBertForMaskedLM with five layers: vocab_transform (768 to 768), GELU, vocab_layer_norm, and a
projector whose weights are the word embeddings; only its bias is learned. It reads the fifth of the encoder's six
layers, whose rows know more of the missing token than the last one's, which serve the other heads. Nothing of the encoder changes, so its rows
at masked tokens are computed once (bfloat16) and kept in memory.

DATA holds squad, xquad, clinc150, banking77, sms_spam, snips and sst2 (their training parts; of XQuAD all but seven
articles), at most 3,000 texts of each. 15 % of a text's tokens are masked. Judged on held-out texts: how often the
right token is among the first five, beside the five most frequent tokens of the training texts. Seeded; one thread;
about ten minutes. Writes the head (f16, 1.2 MB) and prints the figures.
"""
import argparse
import csv
import json
import random
import time

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from common import batches, encoder, layer5, pad, tokenizer

SNIPS = ["AddToPlaylist", "BookRestaurant", "GetWeather", "PlayMusic", "RateBook", "SearchCreativeWork",
         "SearchScreeningEvent"]


def texts(data):
    """Training and held-out texts by source."""
    train, test = {}, {}
    articles = json.load(open(f"{data}/xquad/xquad.en.json"))["data"]
    random.Random(6).shuffle(articles)  # the encoder's own split: it never saw the first seven either

    def paragraphs(some):
        return [p["context"] for a in some for p in a["paragraphs"]]

    test["xquad"] = paragraphs(articles[:7])
    train["xquad"] = paragraphs(articles[7:]) + paragraphs(json.load(open(f"{data}/squad/train-part.json"))["data"])
    clinc = json.load(open(f"{data}/clinc150/data_full.json"))
    train["clinc"] = [t for part in ("train", "oos_train") for t, _ in clinc[part]]
    test["clinc"] = [t for t, _ in clinc["test"]]
    for part, to in (("train", train), ("test", test)):
        to["banking"] = [r["text"] for r in csv.DictReader(open(f"{data}/banking77/{part}.csv"))]
    sms = [l.rstrip("\n").split("\t", 1)[1] for l in open(f"{data}/sms_spam/sms.tsv", encoding="utf8") if "\t" in l]
    random.Random(3).shuffle(sms)
    test["sms"], train["sms"] = sms[:1000], sms[1000:]
    for part, to in (("train", train), ("validate", test)):
        to["snips"] = []
        for i in SNIPS:
            name = f"{data}/snips/{part}_{i}{'_full' if part == 'train' else ''}.json"
            rows = json.load(open(name, encoding="latin-1"))[i]
            to["snips"] += ["".join(s["text"] for s in r["data"]).strip() for r in rows]
    for part, to in (("train", train), ("test", test)):
        to["sst2"] = [l.rsplit("\t", 1)[0] for l in open(f"{data}/sst2/{part}.tsv", encoding="utf8")]
    return train, test


class Head(torch.nn.Module):
    def __init__(s):
        super().__init__()
        s.vocab_transform = torch.nn.Linear(768, 768)
        s.vocab_layer_norm = torch.nn.LayerNorm(768, eps=1e-12)
        torch.nn.init.eye_(s.vocab_transform.weight)
        torch.nn.init.zeros_(s.vocab_transform.bias)
        s.vocab_layer_norm.weight.data.mul_(0.3)

    def forward(s, h):
        return s.vocab_layer_norm(F.gelu(s.vocab_transform(h)))


def rows_at_masks(m, tok, sources, limit, rate, seed):
    """The encoder's rows at masked tokens, the tokens, and the number of their source."""
    mask, special = tok.token_to_id("[MASK]"), {tok.token_to_id(t) for t in ("[CLS]", "[SEP]", "[PAD]", "[UNK]")}
    rng, x, y, source = random.Random(seed), [], [], []
    for number, (name, all_texts) in enumerate(sources.items()):
        some = list(all_texts)
        rng.shuffle(some)
        rows = [r for r in (e.ids for e in tok.encode_batch(some[:limit])) if len(r) > 3]
        for group in batches([len(r) for r in rows]):
            ids, keep = pad([rows[i] for i in group])
            right, chosen = ids.clone(), torch.zeros_like(ids, dtype=torch.bool)
            for j, i in enumerate(group):
                places = [k for k, t in enumerate(rows[i]) if t not in special]
                if places:
                    chosen[j, rng.sample(places, max(1, round(rate * len(places))))] = True
            ids[chosen] = mask
            with torch.inference_mode():
                h = layer5(m, ids, keep)
            x.append(h[chosen].bfloat16())
            y.append(right[chosen])
            source.append(torch.full((int(chosen.sum()),), number))
        print(f"{name}: rows of {len(rows)} texts", flush=True)
    return torch.cat(x), torch.cat(y), torch.cat(source)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("checkpoint", "tokenizer", "data", "out"):
        ap.add_argument(f"--{name}", required=True)
    ap.add_argument("--epochs", type=int, default=3)
    a = ap.parse_args()
    torch.set_num_threads(1), torch.manual_seed(11)
    start = time.time()
    tok = tokenizer(a.tokenizer, 160)
    train, test = texts(a.data)
    counts = np.zeros(28996)
    for some in train.values():
        for e in tok.encode_batch(some):
            np.add.at(counts, e.ids, 1)
    counts[[tok.token_to_id(t) for t in ("[CLS]", "[SEP]", "[PAD]", "[UNK]")]] = 0
    counts = torch.tensor(counts, dtype=torch.float32)

    m = encoder(a.checkpoint)
    table = m.embeddings.word_embeddings.weight.clone()
    m = m.bfloat16()
    x, y, _ = rows_at_masks(m, tok, train, 3000, 0.15, 2)
    print(f"{len(y)} masked tokens, {time.time() - start:.0f} s", flush=True)

    # Tokens that no training text holds cannot be learned: they keep the smallest bias, and cost no time here.
    seen = (counts > 0).nonzero()[:, 0]
    place = torch.full((28996,), -1)
    place[seen] = torch.arange(len(seen))
    head, bias = Head(), torch.nn.Parameter(torch.log(counts[seen] / counts.sum()))
    some = table[seen].bfloat16()
    groups = [{"params": head.parameters(), "lr": 1e-3}, {"params": [bias], "lr": 1e-2}]
    opt = torch.optim.AdamW(groups, weight_decay=0.01)
    steps, step = a.epochs * -(-len(y) // 256), 0
    for _ in range(a.epochs):
        for i in torch.randperm(len(y)).split(256):
            for g, lr in zip(opt.param_groups, (1e-3, 1e-2)):
                g["lr"] = lr * max(0.02, 1 - step / steps)
            with torch.autocast("cpu", torch.bfloat16):
                logits = head(x[i]).bfloat16() @ some.T
            loss = F.cross_entropy(logits.float() + bias, place[y[i]])
            opt.zero_grad()
            loss.backward()
            opt.step()
            step += 1
            if step % 100 == 0:
                print(f"step {step} of {steps}, loss {loss.item():.3f}, {time.time() - start:.0f} s", flush=True)

    full = torch.full((28996,), float(bias.detach().min()))
    full[seen] = bias.detach()
    w = {k: v.half() for k, v in head.state_dict().items()} | {"vocab_projector.bias": full.half()}
    save_file({k: v.contiguous() for k, v in w.items()}, a.out)

    # What is saved is f16: quality is measured on it, on the encoder in f32.
    head.load_state_dict({k: w[k].float() for k in head.state_dict()})
    tx, ty, ts = rows_at_masks(encoder(a.checkpoint), tok, test, 150, 0.15, 1)
    with torch.inference_mode():
        logits = head(tx.float()) @ table.T + w["vocab_projector.bias"].float()
    order = logits.topk(5, -1).indices
    hit = (order == ty[:, None]).any(1).float()
    base = (counts.topk(5).indices == ty[:, None]).any(1).float()
    print(f"{len(ty)} held-out masked tokens: top-5 {hit.mean():.4f}, top-1 {(order[:, 0] == ty).float().mean():.4f}, "
          f"five most frequent tokens {base.mean():.4f}")
    for i, name in enumerate(test):
        print(f"  {name}: top-5 {hit[ts == i].mean():.3f}, baseline {base[ts == i].mean():.3f}")


if __name__ == "__main__":
    main()
