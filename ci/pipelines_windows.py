#!/usr/bin/env python3
"""Answers from contexts of several windows beside Hugging Face's question-answering pipeline, on the same FP32 weights.

    python pipelines_windows.py --binary target/release/pocketbert --assets ASSETS [--limit N]

ASSETS holds checkpoint/, tokenizers/ and data/xquad (not in the repository; prints SKIPPED without them). The pipeline
is that of transformers 4.57.6, the last line of versions that has it.

Each question of XQuAD (English, every so many, --limit in all) is asked of the whole article: its five paragraphs,
joined. Both read the same windows: 384 tokens, neighbours share 128. What is compared is the place of the best answer:

- the pipeline's, which ranks the windows' best by their probabilities within their windows; those of one text, from
  windows that overlap or from elsewhere, are added up;
- ours, which ranks them by the sum of their two logits;
- both rules, applied here to the logits of torch, so that it is known that nothing else differs;
- the people's answers: exact match and F1 by SQuAD's rules (lower case, no articles, no punctuation).

Fails if ours differs from the rule of logits, or the pipeline from the rule of probabilities, in more than --most of
the questions.
"""
import argparse
import collections
import json
import os
import re
import string
import sys
import tempfile

from pipelines_spans import export, fast, ours


def questions(assets, limit):
    data = json.load(open(os.path.join(assets, "data/xquad/xquad.en.json"), encoding="utf8"))["data"]
    all = []
    for article in data:
        context = " ".join(p["context"].replace("\n", " ") for p in article["paragraphs"])
        for p in article["paragraphs"]:
            all += [(q["question"], context, [x["text"] for x in q["answers"]]) for q in p["qas"]]
    return all[:: max(len(all) // limit, 1)][:limit]


def words(text):
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


def quality(found, gold):
    def f1(a, b):
        common = sum((collections.Counter(a) & collections.Counter(b)).values())
        return 2 * common / (len(a) + len(b)) if common else 0.0
    return max(words(found) == words(g) for g in gold), max(f1(words(found), words(g)) for g in gold)


def best(outputs, longest):
    """Each window's best place by probability and by logits, as (score, window, start token, end token)."""
    import torch
    by_probability, by_logit = [], []
    for w, o in enumerate(outputs):
        mask = o["p_mask"].flatten().bool()
        start, end = (o[k][0].masked_fill(mask, float("-inf")) for k in ("start", "end"))
        ones = torch.ones(len(mask), len(mask), dtype=torch.bool)
        allowed = ones.triu() & ~ones.triu(longest)
        allowed[0] = False  # the null answer
        for kept, a, b, join in ((by_probability, start.softmax(0), end.softmax(0), torch.mul),
                                 (by_logit, start, end, torch.add)):
            scores = join(a[:, None], b[None]).masked_fill(~allowed, float("-inf"))
            at = int(scores.argmax())
            kept.append((float(scores.flatten()[at]), w, at // len(mask), at % len(mask)))
    return by_probability, by_logit


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--binary", default="target/release/pocketbert")
    ap.add_argument("--assets", required=True)
    ap.add_argument("--limit", type=int, default=100)
    ap.add_argument("--most", type=float, default=0.01)
    ap.add_argument("--show", type=int, default=0, help="print this many questions that differ")
    a = ap.parse_args()
    checkpoint = os.path.join(a.assets, "checkpoint")
    tokenizer = os.path.join(a.assets, "tokenizers/bert-base-cased/tokenizer.json")
    if not (os.path.exists(f"{checkpoint}/model.safetensors") and os.path.exists(tokenizer)):
        print("SKIPPED: no checkpoint at", a.assets)
        return
    import torch
    import transformers
    from safetensors.torch import load_file
    from transformers import DistilBertConfig, DistilBertForQuestionAnswering
    if int(transformers.__version__.split(".")[0]) >= 5:
        print(f"SKIPPED: transformers {transformers.__version__} has no question-answering pipeline; use 4.57.6")
        return
    torch.set_num_threads(1)
    weights = load_file(f"{checkpoint}/model.safetensors")
    model = DistilBertForQuestionAnswering(DistilBertConfig(vocab_size=28996, attn_implementation="eager")).eval()
    state = {k: v.float() for k, v in weights.items() if k.startswith("distilbert.")}
    for part in ("weight", "bias"):
        state[f"qa_outputs.{part}"] = weights[f"heads.answer.qa_outputs.{part}"].float()
    model.load_state_dict(state)
    pipe = transformers.pipeline("question-answering", model=model, tokenizer=fast(tokenizer), device="cpu")
    asked = questions(a.assets, a.limit)
    length = [len(pipe.tokenizer.tokenize(q)) for q, _, _ in asked]
    mine = [None] * len(asked)
    with tempfile.TemporaryDirectory() as folder:
        export(model, ("start_logits", "end_logits"), model.config, tokenizer, folder)
        for n in sorted(set(length)):
            group = [i for i, l in enumerate(length) if l == n]
            lines = [json.dumps({"question": asked[i][0], "context": asked[i][1]}) for i in group]
            # The pipeline counts what windows share, the command what they do not.
            stride = 384 - 3 - n - 128
            for i, m in zip(group, ours(a.binary, "answer", lines, [
                    "--pairs", "FILE", "--model", folder, "--max-tokens", "15", "--window", "384",
                    "--stride", str(stride), "--parts-of-words"])):
                mine[i] = m
    names = ("pipeline", "ours")
    marks = {n: [0, 0.0] for n in names}
    differ = other_windows = odd_pipeline = odd_ours = windows = 0
    for (q, c, gold), m in zip(asked, mine):
        with torch.no_grad():
            features = pipe.preprocess({"question": q, "context": c}, doc_stride=128, max_seq_len=384)
            outputs = [pipe.forward(f) for f in features]
        windows += len(outputs)
        if len(outputs) != m["windows"]:
            sys.exit(f"{len(outputs)} windows there, {m['windows']} here")
        t = pipe.postprocess(outputs, max_answer_len=15, align_to_words=False)
        theirs, own = [t["start"], t["end"]], m["answers"][0]["chars"]

        def place(found):
            offsets = outputs[found[1]]["encoding"].offsets
            return [offsets[found[2]][0], offsets[found[3]][1]]
        by_probability, by_logit = best(outputs, 15)
        sums = {}
        for found in by_probability:
            at = place(found)
            sums.setdefault(c[at[0]:at[1]].lower(), [0.0, at, found[1]])[0] += found[0]
        likeliest, strongest = max(sums.values(), key=lambda s: s[0]), max(by_logit, key=lambda f: f[0])
        odd_pipeline += theirs != likeliest[1]
        odd_ours += own != place(strongest)
        for name, (start, end) in zip(names, (theirs, own)):
            exact, f1 = quality(c[start:end], gold)
            marks[name][0] += exact
            marks[name][1] += f1
        if theirs != own:
            differ += 1
            other_windows += likeliest[2] != strongest[1]
            if differ <= a.show:
                print(json.dumps({"question": q, "gold": gold, "pipeline": c[theirs[0]:theirs[1]],
                                  "ours": c[own[0]:own[1]]}, ensure_ascii=False))
    n = len(asked)
    print(f"transformers {transformers.__version__}: {n} questions, {windows} windows of 384 tokens, 128 shared")
    print(f"best answers that differ: {differ}, {other_windows} of them from different windows")
    print(f"other than the rule of probabilities: pipeline {odd_pipeline}; other than the rule of logits: ours {odd_ours}")
    for name in names:
        print(f"{name}: exact match {100 * marks[name][0] / n:.1f}, F1 {100 * marks[name][1] / n:.1f}")
    if odd_ours > a.most * n or odd_pipeline > a.most * n:
        sys.exit("FAILED: the difference is not the rule alone")


if __name__ == "__main__":
    main()
