#!/usr/bin/env python3
"""Trains the tiny model's heads `fill_mask` and `entail` on its frozen encoder.

    python train_heads.py --data DATA --out heads.safetensors

DATA holds `snips/` (CC0) and `sms_spam/sms.tsv` (CC BY 4.0). `fill_mask` is a masked-language head whose decoder is
the word embedding table; `entail` tells from the pair (command, "This text is about play music.") whether the
sentence fits. It learns from all seven intents, so it is for tests only. Seeded; one thread; minutes.
"""
import argparse
import random

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from export import HERE, Entail, FillMask, Tiny
from train_tiny import INTENTS, pad, snips

PHRASES = ["add to playlist", "book restaurant", "get weather", "play music", "rate book", "search creative work",
           "search screening event"]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--data", required=True)
    ap.add_argument("--out", required=True)
    a = ap.parse_args()
    random.seed(1), torch.manual_seed(1), torch.set_num_threads(1)
    w = {k: v.float() for k, v in load_file(f"{HERE}/model.safetensors").items()}
    table = w["distilbert.embeddings.word_embeddings.weight"]
    m = Tiny(table.shape[0], w["slots.weight"].shape[0])
    m.load_state_dict(w, strict=False)
    encoder = m.distilbert.eval().requires_grad_(False)
    tok = Tokenizer.from_file(f"{HERE}/tokenizer.json")
    tok.enable_truncation(40)
    assert len(PHRASES) == len(INTENTS)

    def rows(ids):
        return encoder(input_ids=ids, attention_mask=(ids != 0).long()).last_hidden_state

    commands = [(" ".join(words), y) for words, _, y in snips(a.data, "train")]
    test = [(" ".join(words), y) for words, _, y in snips(a.data, "validate")]
    sms = [l.rstrip("\n").split("\t", 1)[1] for l in open(f"{a.data}/sms_spam/sms.tsv", encoding="utf8") if "\t" in l]
    random.Random(3).shuffle(sms)

    mask = tok.token_to_id("[MASK]")
    fill, bias = FillMask(128), torch.nn.Parameter(torch.zeros(table.shape[0]))
    # The table of this model is small, so scores need large rows.
    fill.vocab_layer_norm.weight.data.fill_(4.0)
    texts = [tok.encode(t).ids for t, _ in commands] + [tok.encode(t).ids for t in sms[1000:]]
    held = [tok.encode(t).ids for t, _ in test]
    counts = torch.bincount(torch.tensor([i for r in texts for i in r[1:-1]]), minlength=table.shape[0]).float()
    bias.data = torch.log((counts + 0.5) / counts.sum())
    opt = torch.optim.AdamW([{"params": fill.parameters()}, {"params": [bias], "lr": 1e-2}], lr=2e-3)

    def masked(batch):
        ids = pad(batch, 0)
        chosen = torch.zeros_like(ids, dtype=torch.bool)
        for j, r in enumerate(batch):
            if len(r) > 2:
                chosen[j, random.sample(range(1, len(r) - 1), max(1, round(0.15 * (len(r) - 2))))] = True
        right = ids[chosen]
        ids[chosen] = mask
        with torch.no_grad():
            h = rows(ids)
        return h[chosen], right

    steps = 600
    for step in range(steps):
        h, right = masked(random.sample(texts, 64))
        loss = F.cross_entropy(fill(h) @ table.T + bias, right)
        opt.zero_grad()
        loss.backward()
        opt.step()
        for g, lr in zip(opt.param_groups, (2e-3, 1e-2)):
            g["lr"] = lr * (1 - step / steps)
        if step % 100 == 99:
            print(f"step {step + 1} of {steps}, loss {loss.item():.3f}", flush=True)
    with torch.no_grad():
        h, right = masked(held)
        top = (fill(h) @ table.T + bias).topk(5).indices
        print(f"fill_mask: top-5 {(top == right[:, None]).any(1).float().mean():.3f} of {len(right)} masks of the validation "
              f"sentences; five most frequent tokens {(counts.topk(5).indices == right[:, None]).any(1).float().mean():.3f}")

    entail = Entail(128)
    opt = torch.optim.AdamW(entail.parameters(), lr=3e-3)

    def pairs(batch):
        e = tok.encode_batch([(t, f"This text is about {PHRASES[k]}.") for t, k in batch])
        ids, types = pad([x.ids for x in e], 0), pad([x.type_ids for x in e], 0)
        with torch.no_grad():
            h = rows(ids)
        return entail(h, (ids != 0).long(), types)

    steps = 400
    for step in range(steps):
        batch = random.sample(commands, 32)
        wrong = [(t, random.choice([k for k in range(7) if k != y])) for t, y in batch]
        loss = F.cross_entropy(pairs(batch + wrong), torch.tensor([1] * 32 + [0] * 32))
        opt.zero_grad()
        loss.backward()
        opt.step()
        opt.param_groups[0]["lr"] = 3e-3 * (1 - step / steps)
    with torch.no_grad():
        some = random.sample(test, 200)
        s = pairs([(t, k) for t, _ in some for k in range(7)])[:, 1].view(-1, 7)
        print(f"entail: {(s.argmax(1) == torch.tensor([y for _, y in some])).float().mean():.3f} of 200 validation sentences, "
              "labels known from training")
    out = {f"fill_mask.{k}": v for k, v in fill.state_dict().items()} | {"fill_mask.vocab_projector.bias": bias.data}
    out |= {f"entail.{k}": v for k, v in entail.state_dict().items()}
    save_file({k: v.half().contiguous() for k, v in out.items()}, a.out)


if __name__ == "__main__":
    main()
