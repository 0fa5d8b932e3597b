#!/usr/bin/env python3
"""The tiny test model's architecture, and its ONNX from model.safetensors.

    python export.py --out model.onnx

Needs torch, transformers, safetensors, onnx.
"""
import argparse
import json
import os

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import DistilBertConfig, DistilBertModel

HERE = os.path.dirname(os.path.abspath(__file__))
HEADS = [
    {"name": "intent", "output": "intent", "task": "text-classification",
     "description": "what a voice command wants (SNIPS, 7 intents)"},
    {"name": "slots", "output": "slots", "task": "token-classification", "tagging": "bio",
     "description": "slots of a voice command (SNIPS)"},
    {"name": "spam", "output": "spam", "task": "text-classification", "description": "SMS spam"},
    {"name": "embed", "output": "embed", "task": "embedding", "normalize": True,
     "description": "mean of the last layer, for tests only: not trained to compare texts"},
]


class Tiny(torch.nn.Module):
    def __init__(s, vocab, slots):
        super().__init__()
        c = DistilBertConfig(vocab_size=vocab, dim=128, n_layers=2, n_heads=4, hidden_dim=512,
                             max_position_embeddings=256, dropout=0.1, attention_dropout=0.0)
        s.distilbert = DistilBertModel._from_config(c, attn_implementation="eager")
        s.intent, s.slots, s.spam = (torch.nn.Linear(128, n) for n in (7, slots, 2))

    def forward(s, input_ids, attention_mask):
        h = s.distilbert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        m = attention_mask[..., None].to(h.dtype)
        mean = (h * m).sum(1) / m.sum(1)
        return s.intent(h[:, 0]), s.slots(h), s.spam(h[:, 0]), F.normalize(mean, dim=-1)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--model", default=HERE)
    ap.add_argument("--out", required=True)
    a = ap.parse_args()
    w = {k: v.float() for k, v in load_file(f"{a.model}/model.safetensors").items()}
    m = Tiny(w["distilbert.embeddings.word_embeddings.weight"].shape[0], w["slots.weight"].shape[0]).eval()
    m.load_state_dict(w)
    ids = torch.arange(5, 23).reshape(2, 9)
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    names = [h["name"] for h in HEADS]
    axes = {n: {0: "batch", 1: "sequence"} if n in ("input_ids", "attention_mask", "slots") else {0: "batch"}
            for n in ["input_ids", "attention_mask", *names]}
    torch.onnx.export(m, (ids, mask), a.out, dynamo=False, opset_version=17,
                      input_names=["input_ids", "attention_mask"], output_names=names, dynamic_axes=axes)
    json.load(open(f"{a.model}/heads.json"))  # the heads belong to the model


if __name__ == "__main__":
    main()
