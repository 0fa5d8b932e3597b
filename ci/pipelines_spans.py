#!/usr/bin/env python3
"""Spans and answers beside Hugging Face's pipelines, on the same FP32 weights.

    python pipelines_spans.py --binary target/release/pocketbert --assets ASSETS [--limit N] [--parts tags,answers]

ASSETS holds checkpoint/, tokenizers/ and data/xquad (not in the repository; prints SKIPPED without them).

tags: each tagging head becomes a DistilBertForTokenClassification behind `pipeline("token-classification")`, with every
aggregation, and a folder that `pocketbert tag` opens. Texts are the golden ones without line ends. What is compared:
label, start and end in characters (exactly), and scores. The pipeline groups by B- and I-; so does the command.

answers: DistilBertForQuestionAnswering behind `pipeline("question-answering")`, which transformers 5 no longer has:
run this part with 4.57.6. Questions of XQuAD (test part), windows of 384 tokens with a stride of 128 between them; the
best answer's text and score.

Prints the differences; fails if more than --most of the spans or answers differ or a score of equal ones is further
apart than --tolerance. Pinned: torch 2.x, transformers 5.23.0 (tags), 4.57.6 (answers), onnx (ci/requirements.txt).
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

from pipelines_classify import texts


def fast(tokenizer):
    from transformers import PreTrainedTokenizerFast
    return PreTrainedTokenizerFast(tokenizer_file=tokenizer, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
                                   pad_token="[PAD]", mask_token="[MASK]", model_max_length=512,
                                   model_input_names=["input_ids", "attention_mask"])


def export(model, outputs, config, tokenizer, folder):
    import torch

    class Plain(torch.nn.Module):
        def __init__(s):
            super().__init__()
            s.model = model

        def forward(s, input_ids, attention_mask):
            out = s.model(input_ids=input_ids, attention_mask=attention_mask)
            return tuple(out[o] for o in outputs)

    ids = torch.arange(100, 118).reshape(2, 9)
    axes = {n: {0: "batch", 1: "sequence"} for n in ("input_ids", "attention_mask", *outputs)}
    torch.onnx.export(Plain().eval(), (ids, torch.ones_like(ids)), f"{folder}/model.onnx", dynamo=False, opset_version=17,
                      input_names=["input_ids", "attention_mask"], output_names=list(outputs), dynamic_axes=axes)
    config.save_pretrained(folder)
    with open(tokenizer, encoding="utf8") as f, open(f"{folder}/tokenizer.json", "w", encoding="utf8") as g:
        g.write(f.read())


def ours(binary, command, lines, extra):
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf8") as f:
        f.write("".join(l + "\n" for l in lines))
        f.flush()
        p = subprocess.run([binary, command, *[f.name if e == "FILE" else e for e in extra], "--json"],
                           capture_output=True, text=True)
    if p.returncode:
        sys.exit(f"pocketbert {command} failed: {p.stderr}")
    out = [json.loads(l) for l in p.stdout.splitlines()]
    if len(out) != len(lines):
        sys.exit(f"pocketbert answered {len(out)} of {len(lines)} lines")
    return out


def tags(a, weights, heads, tokenizer):
    import transformers
    from transformers import DistilBertConfig, DistilBertForTokenClassification
    sentences = texts(a.limit)[0]
    print("| head | aggregation | texts | spans | differ | largest score difference |\n|---|---|---|---|---|---|")
    bad = False
    for head in ("slots", "entities"):
        labels = heads[head]["labels"]
        config = DistilBertConfig(vocab_size=28996, num_labels=len(labels), id2label=dict(enumerate(labels)),
                                  label2id={l: i for i, l in enumerate(labels)}, attn_implementation="eager")
        model = DistilBertForTokenClassification(config).eval()
        state = {k: v for k, v in weights.items() if k.startswith("distilbert.")}
        for part in ("weight", "bias"):
            state[f"classifier.{part}"] = weights[f"heads.{head}.classifier.{part}"]
        model.load_state_dict(state)
        with tempfile.TemporaryDirectory() as folder:
            export(model, ("logits",), config, tokenizer, folder)
            for how in ("none", "simple", "first", "average", "max"):
                pipe = transformers.pipeline("token-classification", model=model, tokenizer=fast(tokenizer),
                                             aggregation_strategy=how, ignore_labels=["O"], device="cpu")
                mine = ours(a.binary, "tag", sentences, ["--file", "FILE", "--model", folder, "--aggregation", how])
                spans = differ = 0
                largest = 0.0
                for text, m in zip(sentences, mine):
                    name = "entity" if how == "none" else "entity_group"
                    theirs = {(e[name], e["start"], e["end"]): float(e["score"]) for e in pipe(text)}
                    own = {(e["label"], *e["chars"]): e["score"] for e in m["entities"]}
                    spans += len(theirs)
                    differ += len(theirs.keys() ^ own.keys())
                    largest = max(largest, *(abs(theirs[k] - own[k]) for k in theirs.keys() & own.keys()), 0.0)
                bad |= differ > a.most * max(spans, 1) or largest > a.tolerance
                print(f"| {head} | {how} | {len(sentences)} | {spans} | {differ} | {largest:.1e} |", flush=True)
    return bad


def answers(a, weights, tokenizer):
    import transformers
    from transformers import DistilBertConfig, DistilBertForQuestionAnswering
    if int(transformers.__version__.split(".")[0]) >= 5:
        print(f"SKIPPED: transformers {transformers.__version__} has no question-answering pipeline; use 4.57.6")
        return False
    data = json.load(open(os.path.join(a.assets, "data/xquad/xquad.en.json"), encoding="utf8"))["data"]
    asked = [(q["question"], p["context"]) for d in data for p in d["paragraphs"] for q in p["qas"]]
    asked = [(q, c) for q, c in asked if "\n" not in q + c][: a.limit or 200]
    config = DistilBertConfig(vocab_size=28996, attn_implementation="eager")
    model = DistilBertForQuestionAnswering(config).eval()
    state = {k: v for k, v in weights.items() if k.startswith("distilbert.")}
    for part in ("weight", "bias"):
        state[f"qa_outputs.{part}"] = weights[f"heads.answer.qa_outputs.{part}"]
    model.load_state_dict(state)
    pipe = transformers.pipeline("question-answering", model=model, tokenizer=fast(tokenizer), device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        export(model, ("start_logits", "end_logits"), config, tokenizer, folder)
        lines = [json.dumps({"question": q, "context": c}) for q, c in asked]
        mine = ours(a.binary, "answer", lines, ["--pairs", "FILE", "--model", folder, "--max-tokens", "15",
                                                "--window", "384", "--parts-of-words"])
    differ, largest = 0, 0.0
    for (q, c), m in zip(asked, mine):
        # Widened to words, the pipeline adds up the scores of candidates that become the same words.
        t = pipe(question=q, context=c, max_seq_len=384, doc_stride=128, max_answer_len=15, align_to_words=False)
        own = m["answers"][0]
        if own["chars"] != [t["start"], t["end"]]:
            differ += 1
        else:
            largest = max(largest, abs(own["score"] - t["score"]))
    print(f"answers: {len(asked)} questions, {differ} differ, largest score difference of equal ones {largest:.1e}")
    return differ > a.most * len(asked) or largest > a.tolerance


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--binary", default="target/release/pocketbert")
    ap.add_argument("--assets", required=True)
    ap.add_argument("--parts", default="tags,answers")
    ap.add_argument("--limit", type=int)
    ap.add_argument("--tolerance", type=float, default=1e-4)
    ap.add_argument("--most", type=float, default=0.01, help="share of spans or answers that may differ")
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
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    bad = "tags" in a.parts and tags(a, weights, heads, tokenizer)
    bad |= "answers" in a.parts and answers(a, weights, tokenizer)
    if bad:
        sys.exit("FAILED: too many or too far apart")


if __name__ == "__main__":
    main()
