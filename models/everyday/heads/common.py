"""What both head recipes share: the frozen encoder, and its rows in bfloat16."""
import hashlib
import os
import sys

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import DistilBertConfig, DistilBertModel

SHA256 = "dc6715ded874097fcd563d31c58c663175c4893d2985c0d8f34bf97796c40881"


def encoder(checkpoint):
    """The reference encoder, f32, in evaluation mode."""
    path = os.path.join(checkpoint, "model.safetensors")
    if hashlib.sha256(open(path, "rb").read()).hexdigest() != SHA256:
        sys.exit(f"{path} is not the reference checkpoint")
    w = {k.removeprefix("distilbert."): v.float() for k, v in load_file(path).items() if k.startswith("distilbert.")}
    m = DistilBertModel._from_config(DistilBertConfig(vocab_size=28996), attn_implementation="sdpa").eval()
    m.load_state_dict(w)
    return m.requires_grad_(False)


def tokenizer(path, length):
    t = Tokenizer.from_file(path)
    t.no_padding()
    t.enable_truncation(length)
    return t


def batches(lengths, tokens=2048):
    """Indices by length, in groups of about so many tokens."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    group = []
    for i in order:
        if group and (len(group) + 1) * lengths[i] > tokens:
            yield group
            group = []
        group.append(i)
    if group:
        yield group


def pad(rows, fill=0):
    n = max(map(len, rows))
    ids = torch.tensor([list(r) + [fill] * (n - len(r)) for r in rows])
    mask = torch.tensor([[1] * len(r) + [0] * (n - len(r)) for r in rows])
    return ids, mask


def layer5(m, ids, mask):
    """Rows after the fifth of the six layers: what both heads read."""
    return m(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states[5]
