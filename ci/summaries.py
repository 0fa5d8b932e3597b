#!/usr/bin/env python3
"""Extractive summaries beside the first sentences and beside chance.

    python summaries.py --binary target/release/pocketbert --assets ASSETS --bundle models/everyday.pbert

ASSETS holds data/ (not in the repository; prints SKIPPED without it). No set of summaries written by people is there,
so two stand-ins are measured, each with as many sentences for every method:

- paragraphs (SQuAD 1.1, at least 5 sentences and 5 questions): 2 sentences; the share of the answers to people's
  questions about the paragraph that lie in them, and ROUGE-1 and ROUGE-L (F1) with the rest of the paragraph;
- news (AG News, test part, at least 2 sentences): 1 sentence; ROUGE-1 and ROUGE-L (recall) of the headline.

Words of ROUGE are runs of letters and digits in lower case. "Chance" is the mean of three random choices. Plain Python.
"""
import argparse
import csv
import json
import os
import random
import re
import subprocess

METHODS = ("centroid", "lexrank", "lead")


def words(t):
    return re.findall(r"[a-z0-9]+", t.lower())


def rouge(a, b, recall=False):
    """ROUGE-1 and ROUGE-L of word lists: F1, or the share of `b`."""
    left, one = list(b), 0
    for w in a:
        if w in left:
            left.remove(w)
            one += 1
    row = [0] * (len(b) + 1)
    for x in a:
        before = 0
        for j, y in enumerate(b):
            here = row[j + 1]
            row[j + 1] = before + 1 if x == y else max(row[j + 1], row[j])
            before = here

    def score(n):
        return n / max(1, len(b)) if recall else 2 * n / max(1, len(a) + len(b))
    return score(one), score(row[-1])


class Summaries:
    def __init__(s, a):
        s.a = a

    def spans(s, text, by, n):
        """Spans in characters of the chosen sentences."""
        out = subprocess.run([s.a.binary, "summarize", "-", "--model", s.a.bundle, "--by", by, "-n", str(n), "--json"],
                             input=text, check=True, capture_output=True, text=True).stdout
        return [tuple(x["chars"]) for x in json.loads(out)["sentences"]]

    def judge(s, items, n, score):
        """Means of `score(item, chosen, rest)` by method; `items` are (text, all its sentences, what the score needs)."""
        rng, rows = random.Random(0), {m: [] for m in (*METHODS, "chance")}
        for text, every, more in items:
            for m in METHODS:
                chosen = s.spans(text, m, n)
                rows[m].append(score(text, chosen, [x for x in every if x not in chosen], more))
            three = [sorted(rng.sample(every, n)) for _ in range(3)]
            some = [score(text, c, [x for x in every if x not in c], more) for c in three]
            rows["chance"].append([sum(x) / 3 for x in zip(*some)])
        return {m: [sum(x) / len(x) for x in zip(*r)] for m, r in rows.items()}

    def table(s, names, means):
        print("| | " + " | ".join(names) + " |\n|---" + "|---" * len(names) + "|")
        for m, values in means.items():
            print(f"| {m} | " + " | ".join(f"{v:.3f}" for v in values) + " |")
        print(flush=True)

    def paragraphs(s):
        data = json.load(open(f"{s.a.assets}/data/squad/train-part.json", encoding="utf8"))["data"]
        all_ = [p for d in data for p in d["paragraphs"] if len(p["qas"]) >= 5]
        random.Random(1).shuffle(all_)
        items = []
        for p in all_:
            every = s.spans(p["context"], "lead", 1000)
            if len(every) >= 5:
                answers = [q["answers"][0] for q in p["qas"]]
                at = [(x["answer_start"], x["answer_start"] + len(x["text"])) for x in answers]
                items.append((p["context"], every, at))
            if len(items) == s.a.texts:
                break

        def score(text, chosen, rest, answers):
            inside = [any(a <= x and y <= b for a, b in chosen) for x, y in answers]
            part = [w for a, b in chosen for w in words(text[a:b])]
            other = [w for a, b in rest for w in words(text[a:b])]
            length = sum(b - a for a, b in chosen)
            return [sum(inside) / len(inside), *rouge(part, other), length / len(text)]
        print(f"{len(items)} paragraphs, 2 sentences of {sum(len(i[1]) for i in items) / len(items):.1f}\n")
        s.table(["answers inside", "ROUGE-1 with the rest", "ROUGE-L", "share of the text"], s.judge(items, 2, score))

    def news(s):
        rows = list(csv.reader(open(f"{s.a.assets}/data/ag_news/test.csv", encoding="utf8")))
        random.Random(2).shuffle(rows)
        items = []
        for _, title, text in rows:
            text = " ".join(text.replace("\\", " ").split())
            every = s.spans(text, "lead", 1000) if text.count(". ") else []
            if len(every) >= 2:
                items.append((text, every, words(re.sub(r"\(.*?\)", "", title))))
            if len(items) == s.a.texts:
                break

        def score(text, chosen, _, title):
            part = [w for a, b in chosen for w in words(text[a:b])]
            return [*rouge(part, title, recall=True), sum(b - a for a, b in chosen) / len(text)]
        print(f"{len(items)} news items, 1 sentence of {sum(len(i[1]) for i in items) / len(items):.1f}\n")
        s.table(["headline's ROUGE-1", "ROUGE-L", "share of the text"], s.judge(items, 1, score))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("binary", "assets", "bundle"):
        ap.add_argument(f"--{name}", required=True)
    ap.add_argument("--texts", type=int, default=150, help="texts of each kind")
    a = ap.parse_args()
    if not os.path.isdir(f"{a.assets}/data/squad"):
        print(f"SKIPPED: no data at {a.assets}")
        return
    s = Summaries(a)
    s.paragraphs()
    s.news()


if __name__ == "__main__":
    main()
