#!/usr/bin/env python3
"""The FP32 ONNX of the default bundle, with all its heads, from the reference checkpoint.

    python export.py --checkpoint CHECKPOINT --tokenizer TOKENIZER.json --out OUT

CHECKPOINT is a folder with model.safetensors (135 MB, f16; not in this repository) and heads.json. The file's
SHA-256 is checked, so that the bundle can name its parent. Writes model.onnx, heads.json (in the form of a
bundle's manifest) and tokenizer.json into OUT.

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
}


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

    def forward(s, input_ids, attention_mask):
        h = s.distilbert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
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
    os.makedirs(a.out, exist_ok=True)
    per_token = {n for n, h in m.heads.items() if "pre_classifier" not in h}
    ids = torch.arange(100, 118).reshape(2, 9)
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    names = list(heads)
    axes = {n: {0: "batch", 1: "sequence"} if n in per_token or n.startswith(("input", "attention")) else {0: "batch"}
            for n in ["input_ids", "attention_mask", *names]}
    torch.onnx.export(m, (ids, mask), f"{a.out}/model.onnx", dynamo=False, opset_version=17,
                      input_names=["input_ids", "attention_mask"], output_names=names, dynamic_axes=axes)
    out = []
    for n in names:
        h = {"name": n, "output": n, "labels": heads[n].get("labels", []), "description": DESCRIPTION[n]}
        if n == "embed":
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
