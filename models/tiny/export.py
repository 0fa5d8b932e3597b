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
# Made by train_heads.py, later and on the same encoder; their weights are in heads.safetensors.
MORE_HEADS = [
    {"name": "fill_mask", "output": "fill_mask", "task": "fill-mask", "labels": [],
     "description": "tokens for the gaps of a voice command or text message"},
    {"name": "entail", "output": "entail", "task": "zero-shot", "labels": ["not_entailed", "entailed"],
     "description": "does a sentence fit a voice command, for tests only: learned from the seven intents"},
]


class FillMask(torch.nn.Module):
    """As in Hugging Face's DistilBertForMaskedLM, up to the projector, which is the embedding table and a bias."""

    def __init__(s, dim):
        super().__init__()
        s.vocab_transform = torch.nn.Linear(dim, dim)
        s.vocab_layer_norm = torch.nn.LayerNorm(dim, eps=1e-12)

    def forward(s, h):
        return s.vocab_layer_norm(F.gelu(s.vocab_transform(h)))


class Entail(torch.nn.Module):
    """First token, mean of all tokens and mean of the second segment, to two scores."""

    def __init__(s, dim):
        super().__init__()
        s.dense = torch.nn.Linear(3 * dim, 32)
        s.classifier = torch.nn.Linear(32, 2)

        s.parts = None

    def apart(s):
        """For the export: the three parts of the first layer as constants of their own."""
        s.parts = [w.detach().clone() for w in s.dense.weight.split(s.dense.in_features // 3, 1)]

    def forward(s, h, mask, types):
        def mean(k):
            k = k.to(h.dtype)[..., None]
            return (h * k).sum(1) / k.sum(1).clamp(min=1)

        # The products apart: each of the three rows is quantized by itself, and nothing has to be joined.
        w = s.parts or s.dense.weight.split(h.shape[-1], 1)
        parts = [F.linear(x, w) for x, w in zip((h[:, 0], mean(mask), mean(mask * types)), w)]
        return s.classifier(F.relu(parts[0] + parts[1] + parts[2] + s.dense.bias))


class Tiny(torch.nn.Module):
    def __init__(s, vocab, slots):
        super().__init__()
        c = DistilBertConfig(vocab_size=vocab, dim=128, n_layers=2, n_heads=4, hidden_dim=512,
                             max_position_embeddings=256, dropout=0.1, attention_dropout=0.0)
        s.distilbert = DistilBertModel._from_config(c, attn_implementation="eager")
        s.intent, s.slots, s.spam = (torch.nn.Linear(128, n) for n in (7, slots, 2))

    def forward(s, input_ids, attention_mask):
        return s.read(s.distilbert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state, attention_mask)

    def read(s, h, attention_mask):
        m = attention_mask[..., None].to(h.dtype)
        mean = (h * m).sum(1) / m.sum(1)
        return s.intent(h[:, 0]), s.slots(h), s.spam(h[:, 0]), F.normalize(mean, dim=-1)


class WithMore(torch.nn.Module):
    """The model and the heads that came later."""

    def __init__(s, tiny, more):
        super().__init__()
        s.tiny = tiny
        s.fill_mask, s.entail = FillMask(128), Entail(128)
        for name in ("fill_mask", "entail"):
            w = {k.removeprefix(f"{name}."): v for k, v in more.items() if k.startswith(f"{name}.")}
            s.bias = w.pop("vocab_projector.bias", None) if name == "fill_mask" else s.bias
            getattr(s, name).load_state_dict(w)
        s.entail.apart()

    def forward(s, input_ids, attention_mask, token_type_ids):
        h = s.tiny.distilbert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        table = s.tiny.distilbert.embeddings.word_embeddings.weight
        return (*s.tiny.read(h, attention_mask), F.linear(s.fill_mask(h), table, s.bias),
                s.entail(h, attention_mask, token_type_ids))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--model", default=HERE)
    ap.add_argument("--out", required=True)
    a = ap.parse_args()
    w = {k: v.float() for k, v in load_file(f"{a.model}/model.safetensors").items()}
    m = Tiny(w["distilbert.embeddings.word_embeddings.weight"].shape[0], w["slots.weight"].shape[0]).eval()
    m.load_state_dict(w)
    m = WithMore(m, {k: v.float() for k, v in load_file(f"{a.model}/heads.safetensors").items()}).eval()
    ids = torch.arange(5, 23).reshape(2, 9)
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    types = torch.zeros_like(ids)
    types[:, 4:] = 1
    inputs = ["input_ids", "attention_mask", "token_type_ids"]
    names = [h["name"] for h in HEADS + MORE_HEADS]
    axes = {n: {0: "batch", 1: "sequence"} if n in (*inputs, "slots", "fill_mask") else {0: "batch"}
            for n in [*inputs, *names]}
    torch.onnx.export(m, (ids, mask, types), a.out, dynamo=False, opset_version=17,
                      input_names=inputs, output_names=names, dynamic_axes=axes)
    json.load(open(f"{a.model}/heads.json"))  # the heads belong to the model


if __name__ == "__main__":
    main()
