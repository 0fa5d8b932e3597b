#!/usr/bin/env python3
"""Trains the tiny test model: a two-layer DistilBERT with three heads, on data that may be redistributed.

    python train_tiny.py --data DATA --out OUT [--minutes 8]

DATA holds `snips/` (CC0) and `sms_spam/sms.tsv` (CC BY 4.0). Heads: `intent` (7 SNIPS intents), `slots` (BIO
tags of SNIPS), `spam` (SMS), and `embed`, the mean of the last layer. The vocabulary is a WordPiece of 6,000
entries learned from the training texts. Everything is seeded; one thread.

Writes model.safetensors (f16), tokenizer.json and heads.json. `export.py` makes the ONNX from them.
Needs torch, transformers, tokenizers, safetensors, numpy.
"""
import argparse
import json
import os
import random
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from export import HEADS, Tiny

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "ci"))
from bio import spans  # noqa: E402

INTENTS = ["AddToPlaylist", "BookRestaurant", "GetWeather", "PlayMusic", "RateBook", "SearchCreativeWork",
           "SearchScreeningEvent"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def snips(data, prefix):
    out = []
    for y, intent in enumerate(INTENTS):
        name = f"{data}/snips/{prefix}_{intent}{'_full' if prefix == 'train' else ''}.json"
        for r in json.load(open(name, encoding="latin-1"))[intent]:
            words, tags = [], []
            for seg in r["data"]:
                for k, w in enumerate(seg["text"].split()):
                    words.append(w)
                    tags.append("O" if "entity" not in seg else ("B-" if k == 0 else "I-") + seg["entity"])
            if words:
                out.append((words, tags, y))
    return out


def make_tokenizer(texts):
    tok = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    tok.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    tok.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tok.train_from_iterator(texts, trainers.WordPieceTrainer(vocab_size=6000, special_tokens=SPECIAL, show_progress=False))
    cls, sep = tok.token_to_id("[CLS]"), tok.token_to_id("[SEP]")
    tok.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", cls), ("[SEP]", sep)])
    return tok


def pad(rows, fill):
    n = max(map(len, rows))
    return torch.tensor([r + [fill] * (n - len(r)) for r in rows])


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--data", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--minutes", type=float, default=8)
    a = ap.parse_args()
    random.seed(1), np.random.seed(1), torch.manual_seed(1), torch.set_num_threads(1)

    train, test = snips(a.data, "train"), snips(a.data, "validate")
    sms = [l.rstrip("\n").split("\t", 1) for l in open(f"{a.data}/sms_spam/sms.tsv", encoding="utf8") if "\t" in l]
    sms = [(t, int(y == "spam")) for y, t in sms]
    random.Random(3).shuffle(sms)
    sms_test, sms_train = sms[:1000], sms[1000:]
    slots = ["O"] + sorted({t for _, ts, _ in train for t in ts} - {"O"})
    ix = {t: i for i, t in enumerate(slots)}
    tok = make_tokenizer([" ".join(w) for w, _, _ in train] + [t for t, _ in sms_train])
    tok.enable_truncation(128)

    def encode(words, tags):
        e = tok.encode(words, is_pretokenized=True)
        y, last = [], None
        for w in e.word_ids:
            y.append(-100 if w is None or w == last else ix.get(tags[w], 0))
            last = w
        return e.ids, y

    tagged = [(*encode(w, t), y) for w, t, y in train]
    spam_rows = [(tok.encode(t).ids, y) for t, y in sms_train]
    m = Tiny(tok.get_vocab_size(), len(slots))
    opt = torch.optim.AdamW(m.parameters(), lr=1e-3, weight_decay=0.01)
    start, step = time.time(), 0
    while (used := (time.time() - start) / 60 / a.minutes) < 1:
        for g in opt.param_groups:
            g["lr"] = 1e-3 * min(1, step / 100) * (1 - used)
        if step % 3 < 2:
            rows = random.sample(tagged, 48)
            ids, y = pad([r[0] for r in rows], 0), pad([r[1] for r in rows], -100)
            intent, tags, _, _ = m(ids, (ids != 0).long())
            loss = F.cross_entropy(intent, torch.tensor([r[2] for r in rows]))
            loss = loss + F.cross_entropy(tags.flatten(0, 1), y.flatten(), ignore_index=-100)
        else:
            rows = random.sample(spam_rows, 48)
            ids = pad([r[0] for r in rows], 0)
            loss = F.cross_entropy(m(ids, (ids != 0).long())[2], torch.tensor([r[1] for r in rows]))
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(m.parameters(), 1.0)
        opt.step()
        step += 1
        if step % 200 == 0:
            print(f"step {step}, {used:.0%}, loss {loss.item():.3f}", flush=True)

    # What is saved is f16: quality is measured on it.
    m.load_state_dict({k: v.half().float() for k, v in m.state_dict().items()})
    m.eval()
    hits, tp, np_, ng = 0, 0, 0, 0
    with torch.no_grad():
        for words, tags, y in test:
            ids, lab = encode(words, tags)
            intent, out, _, _ = m(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.long))
            hits += int(intent.argmax()) == y
            keep = [i for i, l in enumerate(lab) if l != -100]
            got, want = spans([slots[int(out[0, i].argmax())] for i in keep]), spans([slots[lab[i]] for i in keep])
            tp, np_, ng = tp + len(got & want), np_ + len(got), ng + len(want)
        right = 0
        for t, y in sms_test:
            ids = tok.encode(t).ids
            right += int(m(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.long))[2].argmax()) == y
    f1 = 2 * tp / max(1, np_ + ng)
    quality = {"intent_accuracy": hits / len(test), "slots_f1": f1, "spam_accuracy": right / len(sms_test), "steps": step}
    print(json.dumps(quality))

    save_file({k: v.half().contiguous() for k, v in m.state_dict().items()}, f"{a.out}/model.safetensors")
    tok.no_truncation()
    tok.save(f"{a.out}/tokenizer.json", pretty=False)
    labels = {"intent": INTENTS, "slots": slots, "spam": ["ham", "spam"], "embed": []}
    heads = [{**h, "labels": labels[h["name"]]} for h in HEADS]
    json.dump({"heads": heads, "quality": quality}, open(f"{a.out}/heads.json", "w"), indent=1)


if __name__ == "__main__":
    main()
