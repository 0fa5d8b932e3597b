#!/usr/bin/env python3
"""Exports models of other shapes than the default one, to find what an engine takes for granted.

Usage: shapes.py OUT_DIR [--checkpoint DIR] [--minilm DIR] [--only NAME,...] [--binary POCKETBERT]

Made with torch 2.15, transformers 5.23. Models with random weights (seeded) are small; those of
CHECKPOINT (`model.safetensors`, `heads.json`) and MINILM (`model.safetensors`) are real and are
left out when the folder is not given. Each gets NAME.json beside it: inputs, outputs, vocabulary.
With --binary each is run there and in ONNX Runtime on random ids of lengths 1 to 60, with two token
types where it takes them: every output within 1e-4, or exit status 1.

odd         layers that differ: 2, 4, 1 heads, feed-forward 40, 136, 72 wide, hidden 56; a 21-way tagger
odd_tanh    the same with the tanh form of GELU
bert        BERT with token types, pooler and 5 classes
bert_notypes  the same, exported without `token_type_ids`
roberta     RoBERTa: positions start at padding index + 1
slots, qa   token classification and question answering heads of the checkpoint, all six layers
multi       all eight heads of the checkpoint over one encoder
external    the checkpoint's sentiment head with its weights in a file beside the graph
minilm      all-MiniLM-L6-v2, BERT with token types, FP32
"""

import argparse
import json
import os
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime as ort
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    DistilBertConfig,
    DistilBertForQuestionAnswering,
    DistilBertForSequenceClassification,
    DistilBertForTokenClassification,
    DistilBertModel,
    RobertaConfig,
    RobertaForSequenceClassification,
)

OPSET = 17


class OddLayer(nn.Module):
    def __init__(self, hidden, heads, wide, gelu):
        super().__init__()
        self.heads, self.gelu = heads, gelu
        self.q, self.k, self.v, self.o = (nn.Linear(hidden, hidden) for _ in range(4))
        self.norm1, self.norm2 = nn.LayerNorm(hidden, eps=1e-12), nn.LayerNorm(hidden, eps=1e-6)
        self.up, self.down = nn.Linear(hidden, wide), nn.Linear(wide, hidden)

    def forward(self, x, mask):
        batch, seq, hidden = x.shape
        shape = (batch, -1, self.heads, hidden // self.heads)
        split = [linear(x).view(shape).transpose(1, 2) for linear in (self.q, self.k, self.v)]
        scores = split[0] @ split[1].transpose(2, 3) / (hidden // self.heads) ** 0.5
        mixed = torch.softmax(scores + mask, -1) @ split[2]
        x = self.norm1(x + self.o(mixed.transpose(1, 2).reshape(batch, -1, hidden)))
        return self.norm2(x + self.down(F.gelu(self.up(x), approximate=self.gelu)))


class Odd(nn.Module):
    def __init__(self, gelu):
        super().__init__()
        self.words, self.places, self.norm = nn.Embedding(997, 56), nn.Embedding(130, 56), nn.LayerNorm(56)
        self.layers = nn.ModuleList(OddLayer(56, h, w, gelu) for h, w in ((2, 40), (4, 136), (1, 72)))
        self.classifier = nn.Linear(56, 21)

    def forward(self, input_ids, attention_mask):
        x = self.norm(self.words(input_ids) + self.places(torch.arange(input_ids.shape[1])))
        mask = (1.0 - attention_mask[:, None, None, :].to(x.dtype)) * -10000.0
        for layer in self.layers:
            x = layer(x, mask)
        return self.classifier(x)


class Hidden(nn.Module):
    """Names its inputs and gives one tensor: the exporter mixes up a bare `BertModel`'s arguments."""

    def __init__(self, bert):
        super().__init__()
        self.bert = bert

    def forward(self, input_ids, attention_mask, token_type_ids):
        return self.bert(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)[0]


class Multi(nn.Module):
    def __init__(self, heads):
        super().__init__()
        self.distilbert = DistilBertModel._from_config(DistilBertConfig(vocab_size=28996), attn_implementation="eager")
        self.kinds = {n: h["type"] for n, h in heads.items()}
        self.heads = nn.ModuleDict()
        for name, head in heads.items():
            labels = len(head.get("labels", []))
            if head["type"] == "sequence-classification":
                self.heads[name] = nn.ModuleDict({"pre_classifier": nn.Linear(768, 768), "classifier": nn.Linear(768, labels)})
            elif head["type"] == "token-classification":
                self.heads[name] = nn.ModuleDict({"classifier": nn.Linear(768, labels)})
            elif head["type"] == "question-answering":
                self.heads[name] = nn.ModuleDict({"qa_outputs": nn.Linear(768, 2)})

    def forward(self, input_ids, attention_mask):
        h = self.distilbert(input_ids=input_ids, attention_mask=attention_mask)[0]
        out = []
        for name, kind in self.kinds.items():
            head = self.heads[name] if name in self.heads else None
            if kind == "sequence-classification":
                out.append(head["classifier"](F.relu(head["pre_classifier"](h[:, 0]))))
            elif kind == "token-classification":
                out.append(head["classifier"](h))
            elif kind == "question-answering":
                out.append(head["qa_outputs"](h))
            else:
                mask = attention_mask[..., None].to(h.dtype)
                out.append(F.normalize((h * mask).sum(1) / mask.sum(1), dim=-1))
        return tuple(out)


def random_weights(model):
    """Larger than BERT's initial ones, so that layers matter to the answer; biases and norms too."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            norm = "norm" in name.lower() and name.endswith("weight")
            p.copy_(1 + 0.2 * torch.randn_like(p) if norm else 0.15 * torch.randn_like(p))
    return model.eval()


def head_of(path, kind, head, labels):
    """A Hugging Face model of one head of the checkpoint."""
    weights = {k: v.float() for k, v in load_file(os.path.join(path, "model.safetensors")).items()}
    model = kind._from_config(DistilBertConfig(vocab_size=28996, num_labels=labels), attn_implementation="eager")
    names = {n: n if n.startswith("distilbert.") else f"heads.{head}.{n}" for n in model.state_dict()}
    model.load_state_dict({n: weights[s] for n, s in names.items()})
    return model.eval()


def export(model, out, inputs, outputs, vocab):
    ids = torch.randint(5, vocab - 1, (2, 11), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 8:] = 0
    values = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.tensor([[0] * 6 + [1] * 5] * 2)}
    axes = {n: {0: "batch", 1: "sequence"} for n in inputs}
    axes |= {n: {0: "batch"} | ({1: "sequence"} if rank == 3 else {}) for n, rank in outputs.items()}
    torch.onnx.export(model, (), out, kwargs={n: values[n] for n in inputs}, dynamo=False, opset_version=OPSET,
                      input_names=inputs, output_names=list(outputs), dynamic_axes=axes)
    with open(out.removesuffix(".onnx") + ".json", "w") as file:
        json.dump({"inputs": inputs, "outputs": outputs, "vocabulary": vocab, "opset": OPSET}, file, indent=1)


def check(binary, path, inputs, outputs, vocab):
    """The largest error of each output against ONNX Runtime's basic optimisations."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    want, lines = [], []
    for length in (1, 2, 3, 7, 16, 33, 60):
        ids = rng.integers(5, vocab - 1, (1, length))
        types = (np.arange(length) >= length // 2).astype(np.int64)[None]
        values = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": types}
        want.append(session.run(list(outputs), {n: values[n] for n in inputs}))
        line = {"ids": ids.tolist()} | ({"types": types.tolist()} if "token_type_ids" in inputs else {})
        lines.append(json.dumps(line))
    done = subprocess.run([binary, "run", path], input="\n".join(lines) + "\n", capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    worst = dict.fromkeys(outputs, 0.0)
    for values, line in zip(want, done.stdout.splitlines(), strict=True):
        got = json.loads(line)["outputs"]
        for name, value in zip(outputs, values):
            if list(value.shape) != got[name]["shape"]:
                raise RuntimeError(f"output `{name}` has shape {got[name]['shape']}, not {list(value.shape)}")
            error = np.abs(np.array(got[name]["data"], np.float32).reshape(value.shape) - value).max()
            worst[name] = max(worst[name], float("inf") if np.isnan(error) else float(error))
    return worst


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--checkpoint")
    parser.add_argument("--minilm")
    parser.add_argument("--only")
    parser.add_argument("--binary")
    args = parser.parse_args()
    torch.set_num_threads(1)
    os.makedirs(args.out, exist_ok=True)
    two, three = ["input_ids", "attention_mask"], ["input_ids", "attention_mask", "token_type_ids"]
    at = args.checkpoint
    heads = json.load(open(os.path.join(at, "heads.json")))["heads"] if at else {}
    small = {"vocab_size": 503, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 6, "num_labels": 5,
             "intermediate_size": 112, "max_position_embeddings": 66}

    def bert():
        return random_weights(BertForSequenceClassification._from_config(BertConfig(**small), attn_implementation="eager"))

    def roberta():
        config = RobertaConfig(**small, pad_token_id=1, type_vocab_size=1)
        return random_weights(RobertaForSequenceClassification._from_config(config, attn_implementation="eager"))

    def multi():
        model = Multi(heads)
        model.load_state_dict({k: v.float() for k, v in load_file(os.path.join(at, "model.safetensors")).items()})
        return model.eval()

    def minilm():
        config = BertConfig(hidden_size=384, num_hidden_layers=6, intermediate_size=1536)
        model = BertModel._from_config(config, attn_implementation="eager", add_pooling_layer=False)
        weights = load_file(os.path.join(args.minilm, "model.safetensors"))
        unused = [k for k in weights if k.startswith("pooler") or "position_ids" in k]
        model.load_state_dict({k: v.float() for k, v in weights.items() if k not in unused})
        return Hidden(model.eval())

    rank = {"sequence-classification": 2, "sentence-embedding": 2}
    qa = {"start_logits": 2, "end_logits": 2}
    slots = len(heads["slots"]["labels"]) if heads else 0
    table = {
        "odd": (lambda: random_weights(Odd("none")), two, {"logits": 3}, 997, True),
        "odd_tanh": (lambda: random_weights(Odd("tanh")), two, {"logits": 3}, 997, True),
        "bert": (bert, three, {"logits": 2}, 503, True),
        "bert_notypes": (bert, two, {"logits": 2}, 503, True),
        "roberta": (roberta, two, {"logits": 2}, 503, True),
        "slots": (lambda: head_of(at, DistilBertForTokenClassification, "slots", slots), two, {"logits": 3}, 28996, at),
        "qa": (lambda: head_of(at, DistilBertForQuestionAnswering, "answer", 2), two, qa, 28996, at),
        "multi": (multi, two, {n: rank.get(h["type"], 3) for n, h in heads.items()}, 28996, at),
        "external": (lambda: head_of(at, DistilBertForSequenceClassification, "sentiment", 2), two, {"logits": 2}, 28996, at),
        "minilm": (minilm, three, {"last_hidden_state": 3}, 30522, args.minilm),
    }
    failed = 0
    for name, (build, inputs, outputs, vocab, given) in table.items():
        if not given or (args.only and name not in args.only.split(",")):
            continue
        torch.manual_seed(11)
        out = os.path.join(args.out, f"{name}.onnx")
        export(build(), out, inputs, outputs, vocab)
        if name == "external":
            data = "external.onnx.data"
            if os.path.exists(os.path.join(args.out, data)):
                os.remove(os.path.join(args.out, data))  # onnx would append to it
            onnx.save(onnx.load(out), out, save_as_external_data=True, all_tensors_to_one_file=True, location=data)
        verdict = f"{os.path.getsize(out)} bytes"
        if args.binary:
            try:
                worst = check(args.binary, out, inputs, outputs, vocab)
                passed = max(worst.values()) <= 1e-4
                verdict = ", ".join(f"{n} {e:.1e}" for n, e in worst.items()) + (" PASS" if passed else " FAIL")
            except RuntimeError as error:
                passed, verdict = False, f"FAIL {error}"
            failed += not passed
        print(f"{name}: {verdict}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
