#!/usr/bin/env python3
"""The FP32 ONNX of the default bundle, with all its heads, from the reference checkpoint.

    python export.py --checkpoint CHECKPOINT --tokenizer TOKENIZER.json --out OUT

CHECKPOINT is a folder with model.safetensors (135 MB, f16; not in this repository) and heads.json. The file's
SHA-256 is checked, so that the bundle can name its parent. Writes model.onnx, heads.json (in the form of a
bundle's manifest) and tokenizer.json into OUT. The heads `fill_mask` and `entail`, made later on the same encoder by the
scripts in heads/, come from the files of that name there.

Needs torch, transformers, safetensors, onnx.
"""
import argparse
import hashlib
import json
import os
import shutil
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import DistilBertConfig, DistilBertModel

SHA256 = "dc6715ded874097fcd563d31c58c663175c4893d2985c0d8f34bf97796c40881"
DESCRIPTION = {
    "sentiment": "is a film review's sentence negative or positive (SST-2)",
    "intent": "what a request wants: 150 intents and out of scope (CLINC)",
    "spam": "is a text message spam (SMS Spam Collection)",
    "moderation": "hate speech, offensive language or neither (Davidson et al.); biased data, read the model card",
    "entities": "rare and emerging names in user text (WNUT-17); hard for everyone, expect misses",
    "slots": "slots of a voice command (SNIPS)",
    "answer": "where a paragraph answers a question (SQuAD, XQuAD); trained on few questions, so weak",
    "embed": "a vector of the text's meaning (mean of the last layer, unit length; STS-B)",
    "fill_mask": "tokens for the gaps of a text; learned from a million words, so it knows little of the world",
    "entail": "does a sentence fit a request (CLINC, Banking); no natural-language inference, read the model card",
}
ENTAIL_LABELS = ["not_entailed", "entailed"]
HERE = os.path.dirname(os.path.abspath(__file__))


class FillMask(torch.nn.Module):
    """Hugging Face's DistilBertForMaskedLM up to the projector, which is the embedding table and a bias."""

    def __init__(s):
        super().__init__()
        s.vocab_transform = torch.nn.Linear(768, 768)
        s.vocab_layer_norm = torch.nn.LayerNorm(768, eps=1e-12)
        s.vocab_projector = torch.nn.ParameterDict({"bias": torch.nn.Parameter(torch.zeros(28996))})

    def forward(s, h, table):
        return F.linear(s.vocab_layer_norm(F.gelu(s.vocab_transform(h))), table, s.vocab_projector["bias"])


class Entail(torch.nn.Module):
    """First token, mean of all tokens and mean of the second segment, to two scores."""

    def __init__(s):
        super().__init__()
        s.dense, s.classifier = torch.nn.Linear(3 * 768, 256), torch.nn.Linear(256, 2)

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


def more_heads():
    """The heads of heads/ that are there."""
    found = {}
    for name, kind in (("fill_mask", FillMask), ("entail", Entail)):
        path = f"{HERE}/heads/{name}.safetensors"
        if os.path.exists(path):
            found[name] = kind()
            found[name].load_state_dict({k: v.float() for k, v in load_file(path).items()})
    return found


class Everyday(torch.nn.Module):
    def __init__(s, heads, weights):
        super().__init__()
        s.distilbert = DistilBertModel._from_config(DistilBertConfig(vocab_size=28996), attn_implementation="eager")
        s.types = {n: h["type"] for n, h in heads.items()}
        s.heads = torch.nn.ModuleDict()
        for key, w in weights.items():
            if key.startswith("heads.") and key.endswith(".weight"):
                _, name, layer, _ = key.split(".")
                if name not in s.heads:
                    s.heads[name] = torch.nn.ModuleDict()
                s.heads[name][layer] = torch.nn.Linear(w.shape[1], w.shape[0])

        s.more = torch.nn.ModuleDict()

    def forward(s, input_ids, attention_mask, token_type_ids):
        layers = s.distilbert(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True).hidden_states
        h = layers[6]
        out = []
        for name in s.types:
            if name == "embed":
                m = attention_mask[..., None].to(h.dtype)
                out.append(F.normalize((h * m).sum(1) / m.sum(1), dim=-1))
            elif "pre_classifier" in s.heads[name]:
                out.append(s.heads[name]["classifier"](F.relu(s.heads[name]["pre_classifier"](h[:, 0]))))
            elif "qa_outputs" in s.heads[name]:
                out.append(s.heads[name]["qa_outputs"](h))
            else:
                out.append(s.heads[name]["classifier"](h))
        # Both read the fifth of the six layers.
        if "fill_mask" in s.more:
            out.append(s.more["fill_mask"](layers[5], s.distilbert.embeddings.word_embeddings.weight))
        if "entail" in s.more:
            out.append(s.more["entail"](layers[5], attention_mask, token_type_ids))
        return tuple(out)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("checkpoint", "tokenizer", "out"):
        ap.add_argument(f"--{name}", required=True)
    a = ap.parse_args()
    path = os.path.join(a.checkpoint, "model.safetensors")
    if not os.path.exists(path):
        sys.exit(f"{path} does not exist: the checkpoint is not part of this repository (see models/README.md)")
    digest = hashlib.sha256(open(path, "rb").read()).hexdigest()
    if digest != SHA256:
        sys.exit(f"{path} has SHA-256 {digest}, expected {SHA256}")
    heads = json.load(open(os.path.join(a.checkpoint, "heads.json")))["heads"]
    weights = {k: v.float() for k, v in load_file(path).items()}  # f16 to f32: exact
    m = Everyday(heads, weights).eval()
    m.load_state_dict(weights)
    m.more.update(more_heads())
    if "entail" in m.more:
        m.more["entail"].apart()
    m.eval()
    os.makedirs(a.out, exist_ok=True)
    per_token = {n for n, h in m.heads.items() if "pre_classifier" not in h} | {"fill_mask"}
    ids = torch.arange(100, 118).reshape(2, 9)
    mask, types = torch.ones_like(ids), torch.zeros_like(ids)
    mask[1, 6:], types[:, 4:] = 0, 1
    inputs = ["input_ids", "attention_mask"] + ["token_type_ids"] * ("entail" in m.more)
    names = [*heads, *m.more]
    axes = {n: {0: "batch", 1: "sequence"} if n in per_token or n in inputs else {0: "batch"} for n in [*inputs, *names]}
    torch.onnx.export(m, (ids, mask, types), f"{a.out}/model.onnx", dynamo=False, opset_version=17,
                      input_names=["input_ids", "attention_mask", "token_type_ids"], output_names=names,
                      dynamic_axes=axes)
    out = []
    for n in names:
        h = {"name": n, "output": n, "labels": heads.get(n, {}).get("labels", []), "description": DESCRIPTION[n]}
        if n == "fill_mask":
            h |= {"task": "fill-mask"}
        elif n == "entail":
            h |= {"task": "zero-shot", "labels": ENTAIL_LABELS}
        elif n == "embed":
            h |= {"task": "embedding", "labels": [], "normalize": True}
        elif "qa_outputs" in m.heads[n]:
            h |= {"task": "question-answering", "labels": []}
        elif n in per_token:
            h |= {"task": "token-classification", "tagging": "bio"}
        else:
            h |= {"task": "text-classification"}
        out.append(h)
    json.dump({"heads": out}, open(f"{a.out}/heads.json", "w"), indent=1)
    shutil.copyfile(a.tokenizer, f"{a.out}/tokenizer.json")


if __name__ == "__main__":
    main()
