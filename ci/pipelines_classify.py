#!/usr/bin/env python3
"""Text classification beside Hugging Face's pipeline, on the same FP32 weights.

    python pipelines_classify.py --binary target/release/pocketbert --assets ASSETS [--heads sentiment,spam] [--limit N]

ASSETS holds checkpoint/ and tokenizers/ (not in the repository; prints SKIPPED without them). Each classification
head of the checkpoint becomes a DistilBertForSequenceClassification, which answers through
`transformers.pipeline("text-classification")`, and a folder with model.onnx, config.json and tokenizer.json, which
`pocketbert classify` opens. Texts are the golden ones (tests/golden/texts.jsonl), single and as pairs; of those with
line ends or tabs, which the command's lines cannot hold, none. Softmax and sigmoid, all labels. Prints the largest
difference of a probability per head; fails if one is above --tolerance, or if the labels come in another order where
they are further apart than that.

Pinned: torch 2.x, transformers 5.23.0, onnx (ci/requirements.txt).
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))


def texts(limit):
    rows = [json.loads(l) for l in open(os.path.join(HERE, "../tests/golden/texts.jsonl"), encoding="utf8")]
    good = [r["text"] for r in rows if not set(r["text"]) & set("\n\r\t")][:limit]
    return good, [(a, b) for a, b in zip(good[::3], good[1::3])]


def build(checkpoint, tokenizer, head, labels, weights, folder):
    """The head as Hugging Face's own class, and as a folder that pocketbert opens."""
    import torch
    from transformers import DistilBertConfig, DistilBertForSequenceClassification, PreTrainedTokenizerFast

    config = DistilBertConfig(vocab_size=28996, num_labels=len(labels), id2label=dict(enumerate(labels)),
                              label2id={l: i for i, l in enumerate(labels)}, attn_implementation="eager")
    model = DistilBertForSequenceClassification(config).eval()
    state = {k: v for k, v in weights.items() if k.startswith("distilbert.")}
    for layer in ("pre_classifier", "classifier"):
        for part in ("weight", "bias"):
            state[f"{layer}.{part}"] = weights[f"heads.{head}.{layer}.{part}"]
    model.load_state_dict(state)
    tok = PreTrainedTokenizerFast(tokenizer_file=tokenizer, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
                                  pad_token="[PAD]", mask_token="[MASK]", model_max_length=512,
                                  model_input_names=["input_ids", "attention_mask"])
    ids = torch.arange(100, 118).reshape(2, 9)
    axes = {n: {0: "batch", 1: "sequence"} for n in ("input_ids", "attention_mask")} | {"logits": {0: "batch"}}

    class Plain(torch.nn.Module):
        def __init__(s):
            super().__init__()
            s.model = model

        def forward(s, input_ids, attention_mask):
            return s.model(input_ids=input_ids, attention_mask=attention_mask).logits

    torch.onnx.export(Plain().eval(), (ids, torch.ones_like(ids)), f"{folder}/model.onnx", dynamo=False, opset_version=17,
                      input_names=["input_ids", "attention_mask"], output_names=["logits"], dynamic_axes=axes)
    config.save_pretrained(folder)
    with open(tokenizer, encoding="utf8") as f, open(f"{folder}/tokenizer.json", "w", encoding="utf8") as g:
        g.write(f.read())
    return model, tok


def ours(binary, folder, inputs, extra):
    lines = [i if isinstance(i, str) else "\t".join(i) for i in inputs]
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf8") as f:
        f.write("".join(l + "\n" for l in lines))
        f.flush()
        more = [] if isinstance(inputs[0], str) else ["--pairs"]
        p = subprocess.run([binary, "classify", "--file", f.name, "--model", folder, "--json", *more, *extra],
                           capture_output=True, text=True)
    if p.returncode:
        sys.exit(f"pocketbert failed: {p.stderr}")
    out = [json.loads(l)["labels"] for l in p.stdout.splitlines()]
    if len(out) != len(inputs):
        sys.exit(f"pocketbert answered {len(out)} of {len(inputs)} inputs")
    return [[(l["label"], l["probability"]) for l in row] for row in out]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--binary", default="target/release/pocketbert")
    ap.add_argument("--assets", required=True)
    ap.add_argument("--heads", default="sentiment,intent,spam,moderation")
    ap.add_argument("--limit", type=int)
    ap.add_argument("--tolerance", type=float, default=1e-4)
    a = ap.parse_args()
    checkpoint = os.path.join(a.assets, "checkpoint")
    tokenizer = os.path.join(a.assets, "tokenizers/bert-base-cased/tokenizer.json")
    if not (os.path.exists(f"{checkpoint}/model.safetensors") and os.path.exists(tokenizer)):
        print("SKIPPED: no checkpoint at", a.assets)
        return
    import torch
    import transformers
    from safetensors.torch import load_file

    torch.set_num_threads(1)
    weights = {k: v.float() for k, v in load_file(f"{checkpoint}/model.safetensors").items()}
    heads = json.load(open(f"{checkpoint}/heads.json"))["heads"]
    single, pairs = texts(a.limit)
    print(f"transformers {transformers.__version__}, torch {torch.__version__}; {len(single)} texts, {len(pairs)} pairs")
    print("\n| head | function | inputs | largest difference | best label differs | order differs |\n|---|---|---|---|---|---|")
    worst, bad = 0.0, 0
    for head in a.heads.split(","):
        with tempfile.TemporaryDirectory() as folder:
            model, tok = build(checkpoint, tokenizer, head, heads[head]["labels"], weights, folder)
            pipe = transformers.pipeline("text-classification", model=model, tokenizer=tok, device="cpu")
            for function, extra in (("softmax", []), ("sigmoid", ["--multi-label"])):
                for inputs in (single, pairs):
                    given = [i if isinstance(i, str) else {"text": i[0], "text_pair": i[1]} for i in inputs]
                    theirs = []
                    for g in given:
                        row = pipe(g, top_k=None, function_to_apply=function, truncation=True, max_length=512)
                        theirs.append([(x["label"], x["score"]) for x in row])
                    largest, best, order = 0.0, 0, 0
                    for x, y in zip(ours(a.binary, folder, inputs, extra), theirs):
                        p = dict(y)
                        if len(x) != len(y) or set(p) != {l for l, _ in x}:
                            sys.exit(f"{head}: other labels than the pipeline")
                        largest = max(largest, *(abs(s - p[l]) for l, s in x))
                        best += x[0][0] != y[0][0]
                        # A swap counts where the pipeline itself tells the two labels apart.
                        order += any(p[l] - p[m] < -a.tolerance for (l, _), (m, _) in zip(x, x[1:]))
                    worst, bad = max(worst, largest), bad + order
                    kind = "texts" if inputs is single else "pairs"
                    print(f"| {head} | {function} | {len(inputs)} {kind} | {largest:.1e} | {best} | {order} |", flush=True)
    print(f"\nlargest difference: {worst:.1e}")
    if worst > a.tolerance or bad:
        sys.exit(f"FAILED: above {a.tolerance}, or another order")


if __name__ == "__main__":
    main()
