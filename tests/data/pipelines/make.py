#!/usr/bin/env python3
"""Makes the small models of this folder, and what Hugging Face's pipelines answer with them.

    python make.py classify tag fill-mask zero-shot embed      transformers 5.23.0

Two layers of random weights (seed 0), large ones, so that answers differ and spans come and go; one folder with
`model.onnx`, `config.json` and `tokenizer.json` per task, as an export from the hub has them. The vocabulary is a cased
WordPiece one of many scripts, learned from TEXTS, with a special token of our own. `tests/tests/pipelines.rs` answers the
same with PocketBERT. Pinned: torch 2.15.0, tokenizers 0.23.3.
"""
import json
import os
import sys
import warnings

import torch
import transformers
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (DistilBertConfig, DistilBertForMaskedLM,
                          DistilBertForSequenceClassification, DistilBertForTokenClassification, DistilBertModel,
                          PreTrainedTokenizerFast, pipeline)

warnings.filterwarnings("ignore")
torch.set_num_threads(1)
os.chdir(os.path.dirname(os.path.abspath(__file__)))
TEXTS = [
    "Angela Merkel visited Paris and Zürich in 2014.",
    "Will it rain in Reykjavík tomorrow? 🌧 I hope not!",
    "The naïve café owner paid £900 for 3 e\u0301clairs.",
    "東京は雨です。京都は晴れです。",
    "Москва и Санкт-Петербург — большие города.",
    "Η Αθήνα είναι η πρωτεύουσα της Ελλάδας.",
    "القاهرة مدينة كبيرة على النيل.",
    "दिल्ली भारत की राजधानी है।",
    "서울은 한국의 수도입니다.",
    "Play some jazz by Miles Davis 🎹👩\u200d👩\u200d👧 please",
    "see <url> for more, or write to <url>.",
    "x",
    "word-by-word; \"quoted\" (bracketed) text's end",
    "Der Fluß heißt Donau und ist 2.850 km lang.",
    "tabs\tand  double  spaces   stay outside of spans",
    "ALL CAPS AND lower and MiXeD",
    "a\u0300\u0301\u0302 marks on marks, ﬁ ligature, ½ and ²",
    "unknownlongwordwithoutanyspaces 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 ✈️",
    "New York, São Paulo, Tel Aviv-Yafo and Kyōto",
    "the end of the text is the end of the text",
]
LABELS = {"classify": ["good", "bad", "dull", "new", "old"], "tag": ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG"],
          "zero-shot": ["contradiction", "neutral", "entailment"]}


def tokenizer():
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    t.train_from_iterator(TEXTS, trainers.WordPieceTrainer(vocab_size=420, special_tokens=special, show_progress=False))
    t.add_special_tokens([AddedToken("<url>", special=True, normalized=False)])
    t.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[(x, t.token_to_id(x)) for x in ("[CLS]", "[SEP]")])
    return t


def fast(t):
    return PreTrainedTokenizerFast(tokenizer_object=t, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
                                   pad_token="[PAD]", mask_token="[MASK]", additional_special_tokens=["<url>"],
                                   model_max_length=96, model_input_names=["input_ids", "attention_mask"])


def make(task, cls, outputs, t, **more):
    """A model with random weights, exported to the folder of its task."""
    import onnx
    torch.manual_seed(0)
    names = LABELS.get(task)
    labels = {} if names is None else {"id2label": dict(enumerate(names)), "label2id": {l: i for i, l in enumerate(names)}}
    config = DistilBertConfig(vocab_size=t.get_vocab_size(), dim=16, n_layers=2, n_heads=2, hidden_dim=32,
                              max_position_embeddings=96, initializer_range=0.4, attn_implementation="eager", **labels, **more)
    model = cls(config).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0, 0.4) if p.dim() > 1 else p.add_(torch.randn_like(p) * 0.05)

    class Plain(torch.nn.Module):
        def __init__(s):
            super().__init__()
            s.model = model

        def forward(s, input_ids, attention_mask):
            out = s.model(input_ids=input_ids, attention_mask=attention_mask)
            return tuple(out[o] for o in outputs)

    os.makedirs(task, exist_ok=True)
    ids = torch.arange(10, 28).reshape(2, 9)
    axes = {n: {0: "batch", 1: "sequence"} for n in ("input_ids", "attention_mask", *outputs)}
    torch.onnx.export(Plain().eval(), (ids, torch.ones_like(ids)), f"{task}/model.onnx", dynamo=False, opset_version=17,
                      input_names=["input_ids", "attention_mask"], output_names=list(outputs), dynamic_axes=axes)
    m = onnx.load(f"{task}/model.onnx")
    for n in m.graph.node:
        n.ClearField("doc_string")
        n.ClearField("metadata_props")
    onnx.save(m, f"{task}/model.onnx")
    json.dump({"model_type": "distilbert", **({"id2label": labels["id2label"]} if names else {})}, open(f"{task}/config.json", "w"))
    t.save(f"{task}/tokenizer.json", pretty=False)
    return model


def classify(t):
    m = make("classify", DistilBertForSequenceClassification, ("logits",), t)
    pipe = pipeline("text-classification", model=m, tokenizer=fast(t), device="cpu")
    for x in TEXTS:
        out = {f: {y["label"]: y["score"] for y in pipe(x, top_k=None, function_to_apply=f)} for f in ("softmax", "sigmoid")}
        yield {"text": x, **out}


def tag(t):
    m = make("tag", DistilBertForTokenClassification, ("logits",), t)
    for how in ("none", "simple", "first", "average", "max"):
        pipe = pipeline("token-classification", model=m, tokenizer=fast(t), aggregation_strategy=how, ignore_labels=["O"], device="cpu")
        name = "entity" if how == "none" else "entity_group"
        for x in TEXTS:
            yield {"text": x, "aggregation": how, "entities": [[e[name], e["start"], e["end"], float(e["score"])] for e in pipe(x)]}


def fill_mask(t):
    m = make("fill-mask", DistilBertForMaskedLM, ("logits",), t)
    pipe = pipeline("fill-mask", model=m, tokenizer=fast(t), device="cpu")
    for i, x in enumerate(TEXTS):
        parts = x.split(" ")
        parts[(i * 7) % len(parts)] = "[MASK]"
        x = " ".join(parts)
        yield {"text": x, "candidates": [[y["token"], y["token_str"], y["score"]] for y in pipe(x, top_k=5)]}


def zero_shot(t):
    m = make("zero-shot", DistilBertForSequenceClassification, ("logits",), t)
    pipe = pipeline("zero-shot-classification", model=m, tokenizer=fast(t), device="cpu")
    labels = ["rain", "cities", "music and jazz", "東京"]
    for multi in (False, True):
        for x in TEXTS:
            out = pipe(x, labels, hypothesis_template="This is about {}.", multi_label=multi)
            yield {"text": x, "labels": labels, "multi": multi, "scores": dict(zip(out["labels"], out["scores"]))}


def embed(t):
    m = make("embed", DistilBertModel, ("last_hidden_state",), t)
    pipe = pipeline("feature-extraction", model=m, tokenizer=fast(t), device="cpu")
    for x in TEXTS:
        rows = torch.tensor(pipe(x)[0])
        pooled = {"cls": rows[0], "mean": rows.mean(0), "max": rows.max(0).values}
        yield {"text": x, **{k: torch.nn.functional.normalize(v, dim=0).tolist() for k, v in pooled.items()}}


if __name__ == "__main__":
    for task in sys.argv[1:]:
        rows = [json.dumps(r, ensure_ascii=True) for r in globals()[task.replace("-", "_")](tokenizer())]
        with open(f"{task}/answers.jsonl", "w") as f:
            f.write(json.dumps({"transformers": transformers.__version__, "torch": torch.__version__.split("+")[0]}) + "\n")
            f.write("\n".join(rows) + "\n")
        print(task, len(rows))
